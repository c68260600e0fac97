# docs/tutorial/first-map.md
mkdir counter && cd counter
python3 -m venv venv && . venv/bin/activate
python -m pip install ../lpcm
copy count.py
python count.py
python -m lpcm get hits home
python count.py & python count.py & wait
python -m lpcm get hits home
