"""``manage.py lpcm`` and ``manage.py create_lpcm_table``."""
