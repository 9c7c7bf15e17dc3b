"""The schemes held to recorded vectors of the released code, and to exact values."""
