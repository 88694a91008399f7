"""Two rules of one name, a rule file's and a pack's, are two rules in everything that is recorded."""


def test_a_packs_rule_of_the_same_name_has_its_own_calls(workshop):
    """The calls of the pack's rule are not counted for the rule file's, and its spans say whose they are."""
    (workshop.directory / "rules.toml").write_text(
        '[agent]\npacks = ["dytopo"]\n[[rule]]\nname = "worker"\ntarget = "__main__:never"\n'
    )
    package = workshop.directory / "dytopo"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "orchestrator.py").write_text(
        "class Found:\n    work = 'done'\n\n\n"
        "async def _call_worker(\n"
        "    agent, round_goal, task, incoming_messages, domain, config, descriptor_only=False\n"
        "):\n"
        "    return Found(), 1\n"
    )
    workshop.write(
        program="""
        import asyncio
        from dytopo.orchestrator import _call_worker

        def never(): ...

        asyncio.run(_call_worker(None, "", "", [], "", None))
        """
    )
    _, _, (_, report) = workshop.run()
    states = {rule["name"]: (rule["state"], rule["calls"]) for rule in report["rules"]}

    assert states["worker"] == ("never_called", 0)
    assert states["dytopo/worker"] == ("woven", 1)
    _, spans = workshop.spans()
    assert [span.rule for span in spans] == ["dytopo/worker"]
