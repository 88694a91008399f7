"""In a package without a file of its own."""


def here():
    return __name__
