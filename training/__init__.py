"""How the miniature is made: drawings, captions and the four small networks trained on them.

Knows nothing of catalogues, plans or databases; the package never imports it.
"""
