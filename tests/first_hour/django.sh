# docs/tutorial/django.md
mkdir shop && cd shop
python3 -m venv venv && . venv/bin/activate
python -m pip install '../lpcm[django]'
django-admin startproject shop .
copy shop/settings.py
python manage.py check
copy shop/views.py
copy shop/urls.py
python manage.py migrate
python manage.py runserver 8000 > server.log 2>&1 &
await 8000
curl http://127.0.0.1:8000/home
curl http://127.0.0.1:8000/home
copy shop/tests.py
python manage.py test shop
curl http://127.0.0.1:8000/home
DJANGO_SUPERUSER_PASSWORD=secret python manage.py createsuperuser --noinput --username ann --email ann@example.com
