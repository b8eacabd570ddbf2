"""Matrices of balls that the interval tests share."""

from warmflow.analysis.intervals.arithmetic import ball, ball_matrix


def interval_matrix(middle: list, radius: float) -> object:
    """Return a matrix of balls of one radius around ``middle``."""
    out = ball_matrix(middle)
    for i in range(out.nrows()):
        for j in range(out.ncols()):
            out[i, j] = ball(float(middle[i][j]), radius)
    return out
