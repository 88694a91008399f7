"""Source text of every kind is read, compiled and complained about as plain Python does it."""

import os

import pytest

PRINT = "def f(text):\n    print(ascii(text), __doc__)\nf("

GOOD = {
    "latin-1 cookie": b"# coding: latin-1\n" + PRINT.encode() + b"'\xe9\xff')\n",
    "cookie on line two": b"#!/usr/bin/python\n# -*- coding: cp1251 -*-\n'\xe9'\n"
    + PRINT.encode()
    + b"'\xe9')\n",
    "bom": b"\xef\xbb\xbf" + PRINT.encode() + "'é')\n".encode(),
    "bom and cookie": b"\xef\xbb\xbf# coding: utf-8\n" + PRINT.encode() + "'é')\n".encode(),
    "crlf": b"'''doc\r\nstring'''\r\ndef f(text):\r\n    print(ascii(text))\r\nf('''a\r\nb''')\r\n",
    "cr": b"x = 1\rprint(x)\r",
    "no newline at the end": b"def f():\n    print('x')\nf()",
    "tabs": b"def f():\n\tif True:\n\t\tprint('x')\n\ndef g():\n        print('y')\nf(); g()\n",
    "form feed": b"\x0c\ndef f(): print(1)\n\x0cf()\n",
    "continuation": b"def f(a, \\\n    b): \\\n    print(a, b)\nf(1, \\\n  2)\n",
    "docstring and future": b"'''doc'''\nfrom __future__ import annotations\ndef f(x: nothing) -> no: pass\n"
    b"print(f.__annotations__, __doc__, f(1))\n",
    "barry": b"from __future__ import barry_as_FLUFL\ndef f(): return 1 <> 2\nprint(f())\n",
    "only a docstring": b"'''doc'''",
    "asserts": b"def f(x):\n    '''doc'''\n    assert x\nprint(f.__doc__)\nf(0)\n",
    "debug": b"if __debug__:\n    def f(): print('debug')\nelse:\n    def f(): print('no debug')\nf()\n",
    "annotations": b"x: int = 1\ndef f(y: 'x' = 2): return y\nprint(__annotations__, f())\n",
    "star import": b"from os.path import *\ndef f(): return join('a', 'b')\nprint(f())\n",
    "much of the language": b"""
def in_default(x=lambda: (lambda y: y)(1)): return x()
class Scopes:
    x = 2
    def f(self): return x
    y = [x for _ in 'a']
class Cell:
    def f(self): return __class__.__name__
class Super(Cell):
    def f(self): return super().f() + __class__.__name__
    def __mangled(self, __x=3): return __x
    def g(self): return self.__mangled()
def matched(x):
    match x:
        case {'a': [1, *rest]}: return rest
def walrus(): return [y := 1, y**2]
def typed(x):
    # type: (int) -> str
    return x # type: ignore
x = 1
print(in_default(), Scopes().f(), Super().f(), Super().g(), matched({'a': [1, 2]}), walrus(), typed(1))
print([(z := 2) for _ in 'ab'], z)
""",
    "same names": b"def f(): return 1\nprint(f())\ndef f(): return 2\nprint(f())\n",
    "decorators": b"def unwatched(g):\n    print(g.__name__)\n    return g\n@unwatched\n@unwatched\n"
    b"def f(): return 1\nprint(f())\n",
}

BAD = {
    "never closed": b"x = (\n",
    "unterminated text": b"x = 'abc\n",
    "unterminated long text": b"x = '''abc\n",
    "tab error": b"if 1:\n\tx = 1\n        y = 2\n",
    "unindent": b"def f():\n        x = 1\n    y = 2\n",
    "unexpected indent": b"x = 1\n  y = 2",
    "end instead of a block": b"def f():\n    x = 1\n    if x:\n",
    "end instead of a block, blank": b"if x:\n\n",
    "return outside": b"def f(): pass\nreturn 1\n",
    "nonlocal outside": b"nonlocal x\n",
    "await outside": b"def f():\n    await g()\n",
    "unknown future": b"from __future__ import nope\n",
    "late future": b"x = 1\nfrom __future__ import annotations\n",
    "unknown encoding": b"# coding: foo\nx = 1\n",
    "wrong encoding": b"# coding: ascii\nx = '\xc3\xa9'\n",
    "no encoding": b"x = '\xe9'\n",
    "bom against cookie": b"\xef\xbb\xbf# coding: latin-1\nx = 1\n",
    "f-string": b"f'{a b}'\n",
    "octal": b"x = 0777\n",
    "dollar": b"x = $\n",
    "latin-1 line": b"# coding: latin-1\nx = '\xe9' y\n",
    "wide characters": "x = '名名' é é\n".encode(),
    "crlf": b"if 1:\r\n  x = 1\r\n y = 2\r\n",
    "duplicate argument": b"def f(a, a): pass\n",
    "warning before": b"x = '\\d'\nx is 1\nx = (1 2)",
    "too deep": b"x = " + b"(" * 300 + b")" * 300,
    "walrus": b"[(y := 1) for y in 'a']",
}

WARNS = {
    "escape": b"def f(): return '\\d'\nprint(f())\n",
    "is": b"def f(x): return x is 1\nprint(f(2))\n",
    "assert": b"def f(): assert (1, 'always')\nf()\n",
    "call": b"def f(): return 'x' 'y'\nif 0: 'text'()\n",
    "nothing to weave": b"x = '\\d' is 1\n",
    "deprecated in main": b"import warnings\nwarnings.warn('old', DeprecationWarning)\n",
}


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD)
def test_source(workplace, source):
    """A program does the same, whatever its text looks like."""
    workplace.compare_source(source)


@pytest.mark.parametrize("flags", [("-O",), ("-OO",)], ids=" ".join)
def test_optimized_source(workplace, flags):
    """-O and -OO take from the main module what they always take."""
    workplace.compare_source(GOOD["asserts"] + GOOD["debug"], flags=flags)


@pytest.mark.parametrize("source", BAD.values(), ids=BAD)
def test_bad_source(workplace, source):
    """A script that does not compile is complained about in the interpreter's own words, once."""
    ending = workplace.compare_source(source, "argument", flags=("-X", "dev"))

    assert (ending.status, ending.stdout) == (1, b"")


@pytest.mark.parametrize("name", ["never closed", "no encoding", "late future", "warning before"])
def test_bad_source_of_a_module(workplace, name):
    """Under `-m`, and from a directory, the same goes with the frames of runpy."""
    workplace.write("program.py", BAD[name])
    workplace.write("app/__main__.py", BAD[name])

    assert workplace.compare("-m", "program").status == 1
    assert workplace.compare("app").status == 1


@pytest.mark.parametrize("source", WARNS.values(), ids=WARNS)
def test_source_that_is_warned_about(workplace, source):
    """Each warning of the compiler comes once."""
    workplace.compare_source(source)


@pytest.mark.parametrize("flags", [("-W", "error"), ("-W", "ignore"), ("-X", "dev")], ids=" ".join)
def test_filters_of_warnings(workplace, flags):
    """A warning of the compiler is an error, or nothing, where that is asked for."""
    workplace.compare_source(WARNS["escape"], flags=flags)
    workplace.compare_source(WARNS["is"], flags=flags)


def test_wrong_compiled_script(workplace):
    """A `.pyc` of another Python is refused in the interpreter's own words."""
    workplace.write("program.pyc", b"\x01\x02\r\n" + bytes(60))

    assert workplace.compare("program.pyc").status == 1


@pytest.mark.parametrize("source", [b"def f(): print(__file__)\nf()\n", b"x = (\n"])
def test_source_from_a_pipe(workplace, source):
    """A script that can be read only once, as in `<(command)`, is read once."""
    endings = []
    for argv in (["/dev/stdin"], ["-m", "dytopo_autotrace", "--report=none", "/dev/stdin"]):
        reader, writer = os.pipe()
        os.write(writer, source)
        os.close(writer)
        endings.append(workplace.start(argv, stdin=reader))
        os.close(reader)

    # Of a pipe that is empty by now, the interpreter cannot show the line that is wrong.
    plain, watched = endings
    assert (watched.status, watched.stdout) == (plain.status, plain.stdout)
    assert watched.errors.splitlines()[-1:] == plain.errors.splitlines()[-1:]
