# docs/tutorial/servers.md
mkdir table && cd table
python3 -m venv venv && . venv/bin/activate
python -m pip install '../lpcm[dynamodb,cli]'
make -C ../lpcm servers
../lpcm/.engines/node_modules/@dynoxide/linux-x64/dynoxide --host 127.0.0.1 --port 8000 > dynoxide.log 2>&1 &
memcached -u "$(id -un)" -l 127.0.0.1 -p 11211 > memcached.log 2>&1 &
await 8000
await 11211
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
export LPCM_URL='dynamodb://shop?region=eu-west-1&endpoint=http://127.0.0.1:8000'
lpcm table create
lpcm table show
copy count.py
python count.py
lpcm get hits home
export LPCM_URL="$LPCM_URL&cache=memcached://127.0.0.1:11211"
python count.py
lpcm get hits home
lpcm doctor
