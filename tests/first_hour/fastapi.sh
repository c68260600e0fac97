# docs/howto/fastapi.md
mkdir service && cd service
python3 -m venv venv && . venv/bin/activate
python -m pip install ../lpcm fastapi uvicorn
copy app.py
uvicorn app:app --port 8000 > server.log 2>&1 &
await 8000
curl http://127.0.0.1:8000/home
curl http://127.0.0.1:8000/home
python -m pip install httpx2 pytest
copy test_app.py
python -m pytest --quiet
curl http://127.0.0.1:8000/home
