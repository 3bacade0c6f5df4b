"""Frames that the controller reads and makes, octet by octet. PURE.

What comes in is a stranger's: any octets, cut anywhere (a switch hands over only so much of a frame). Nothing here
raises for it; where there is nothing to read or nothing to answer, the result is None.
"""
