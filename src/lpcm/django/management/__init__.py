"""Django's management commands of lpcm."""
