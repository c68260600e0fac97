"""Values of bytes as the files that Django sends."""

from django.http import FileResponse

from lpcm import LPCM


def test_a_response():
    """It has the length of the value and its bytes, and closes the file."""
    films = LPCM("films")
    films["trailer"] = b"frame" * 100_000
    file = films.open("trailer")
    response = FileResponse(file, filename="trailer.bin")
    assert response["Content-Length"] == "500000"
    assert b"".join(response.streaming_content) == films["trailer"]
    response.close()
    assert file.closed
