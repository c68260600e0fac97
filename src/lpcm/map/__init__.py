"""The mapping face: LPCM, LPCMSet, their views, async methods and transactions."""
