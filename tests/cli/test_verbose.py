"""What a run tells of its rules: briefly by default, each one when asked."""

import re

PROGRAM = """
    def used(): pass
    def idle(): pass
    used(); used()
"""
RULES = """\
[[rule]]
name = "some"
target = ["__main__:used", "__main__:gone"]
[[rule]]
name = "idle"
target = "__main__:idle"
[[rule]]
name = "elsewhere"
target = "nowhere.at.all:f"
[[rule]]
name = "slip"
target = "__main__:usd"
[[rule]]
name = "c"
target = "math:sqrt"
[[rule]]
target = "math:sqrt"
role = "woker"
"""


def report(workplace, *options):
    workplace.write("program.py", PROGRAM + "    import math\n")
    workplace.rules.write_text(RULES)
    argv = ["-m", "dytopo_autotrace", f"--rules={workplace.rules}", *options, "program.py"]
    ended = workplace.start(argv)
    assert ended.status == 0
    return ended.errors[ended.errors.rindex("RULES") :]


def test_verbose_gives_each_rule_its_state(workplace):
    """Woven and called so many times, never called, never imported, refused, nothing, off."""
    page = report(workplace, "--verbose")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in page.splitlines() if line}

    assert lines["some"] == "woven 1 2 rules.toml:1"
    assert lines["idle"] == "never called 1 0 rules.toml:4"
    assert lines["elsewhere"] == "never imported 0 0 rules.toml:7"
    assert lines["slip"] == "nothing matched 0 0 rules.toml:10"
    assert lines["c"] == "refused 0 0 rules.toml:13"
    assert re.search(r"rule 6 of rules.toml +switched off", page)


def test_the_default_is_short(workplace):
    """What works is a count; what does not is named with its reason, what is missing of one too."""
    page = " ".join(report(workplace).split())

    assert "1 rule woven and called; report --verbose tells each" in page
    assert "some: not all of it is woven. __main__:gone: The source has no such def." in page
    assert "woven, never called: idle" in page
    assert "c (rules.toml:13): could not be woven." in page


def test_the_kept_run_tells_it_again(workplace):
    """`report --verbose` says of a kept run what its own report would have said."""
    page = report(workplace, "-v")
    ended = workplace.start(["-m", "dytopo_autotrace", "report", "--verbose"])

    assert ended.status == 0
    assert (
        ended.text[ended.text.rindex("RULES") :].split("autotrace itself")[0]
        == (page.split("autotrace itself")[0])
    )
