"""S1 to S5: what is an identity is proved with SymPy, then compared with the code.

Each proof simplifies a difference to exactly zero, for small n and p with symbols or for rational
data; the exact expressions are then evaluated at rational points where the code must agree to
round-off.
"""
