"""What each fault in a rule file says, and that it switches off no more than it must."""

import pytest

from dytopo_autotrace.rules.build import AUTOMATIC_METRIC, rule_from
from dytopo_autotrace.rules.model import Capture, Origin, Target

AGENT_FAULTS = [
    # text, line, key, in the value, in the message, in the hint
    ("[agents]\n", 1, "agents", "{}", "no such key", "Did you mean 'agent'?"),
    ("packs = []\n", 1, "packs", "[]", "no such key", "belongs in [agent]"),
    ("[capture]\nmax_length = 1\n", 1, "capture", "", "no such key", "belongs in [agent]"),
    ("[agent]\nservce = 'x'\n", 2, "agent.servce", "'x'", "no such key", "Did you mean 'service'?"),
    ("[agent]\nmax_length = 1\n", 2, "agent.max_length", "1", "no such key", "[agent.capture]"),
    ("agent = 1\n", 1, "agent", "1", "must be a table, not an integer", ""),
    ("[[agent]]\n", 1, "agent", "", "array of tables", "Write [agent]"),
    ("[agent]\nservice = 1.5\n", 2, "agent.service", "1.5", "a string, not a float", ""),
    ("[agent]\nservice = ' '\n", 2, "agent.service", "' '", "is empty", ""),
    ('[agent]\nservice = "a\\u0007"\n', 2, "agent.service", "", "cannot be printed", ""),
    ("[agent]\npacks = ['dytpo']\n", 2, "agent.packs", "'dytpo'", "no such pack", "'dytopo'"),
    ("[agent]\npacks = [\n'x',\n2]\n", 4, "agent.packs", "2", "a string, not an integer", ""),
    ("[agent]\nadopt = ['a:b']\n", 2, "agent.adopt", "'a:b'", "cannot be there", ""),
    ("[agent.capture]\nmax_length = -1\n", 2, "agent.capture.max_length", "-1", "at least 0", ""),
    ("[agent.capture]\nmax_length = true\n", 2, "agent.capture.max_length", "", "boolean", ""),
    ("[agent.capture]\nmax_length = 1.0\n", 2, "agent.capture.max_length", "", "a float", ""),
    ("[agent.capture]\nredact = [[]]\n", 2, "agent.capture.redact", "[]", "an array", ""),
    ("[rule]\ntarget = 'a:f'\n", 1, "rule", "", "one table", "[[rule]]"),
    ("rule = 3\n", 1, "rule", "3", "must be an array of tables", ""),
    ("rule = ['x']\n", 1, "rule", "'x'", "must be a table", ""),
]

RULE_FAULTS = [
    ("target = 'a:f'\nrole = 'scope'\n", 3, "rule.role", "'scope'", "no call owns", "another"),
    (
        "target = 'a:f'\nscope = { opens = 'round', key = 'result.n' }\n",
        3,
        "rule.scope.key",
        "'result.n'",
        "when the call begins",
        "parameter",
    ),
    ("target = 'a:f'\nstall_after = -1\n", 3, "rule.stall_after", "-1", "at least 0", ""),
    ("trget = 'a:f'\n", 2, "rule.trget", "'a:f'", "no such key", "Did you mean 'target'?"),
    ("name = 'x'\n", 1, "rule.target", "", "is missing", "module:qualname"),
    ("target = 'a.f'\n", 2, "rule.target", "'a.f'", "no colon", "'a:f'"),
    ("target = []\n", 2, "rule.target", "[]", "no function", ""),
    ("target = [\n'a:f',\n'b'\n]\n", 4, "rule.target", "'b'", "no colon", ""),
    ("target = 1979-05-27\n", 2, "rule.target", "", "a date or time", ""),
    ("target = 'a:f'\nexclude = 'b c'\n", 3, "rule.exclude", "'b c'", "no name has", ""),
    ("target = 'a:f'\nrole = 'woker'\n", 3, "rule.role", "'woker'", "looks like", "'worker'"),
    ("target = 'a:f'\nrole = 'Router'\n", 3, "rule.role", "'Router'", "looks like", "'router'"),
    ("target = 'a:f'\nrole = 'my role'\n", 3, "rule.role", "", "is no role", "lower-case"),
    ("target = 'a:f'\nagent = 'x.strpi()'\n", 3, "rule.agent", "", "`strpi`", "'strip'"),
    ("target = 'a:f'\nagent = 1\n", 3, "rule.agent", "1", "a string, not an integer", "quotes"),
    ("target = 'a:f'\nfailed_if = true\n", 3, "rule.failed_if", "True", "not a boolean", "quotes"),
    ("target = 'a:f'\nattributes = 'x'\n", 3, "rule.attributes", "'x'", "a table", ""),
    (
        "target = 'a:f'\n[rule.attributes]\na.b = 'x'\n",
        4,
        "rule.attributes.a",
        "",
        "a table",
        "quotes",
    ),
    (
        "target = 'a:f'\n[rule.attributes]\n'a b' = 'x'\n",
        4,
        "rule.attributes.a b",
        "",
        "'a b'",
        "letters",
    ),
    (
        "target = 'a:f'\n[rule.attributes]\ngoal = 'x +'\n",
        4,
        "rule.attributes.goal",
        "'x +'",
        "not a Python",
        "",
    ),
    (
        "target = 'a:f'\n[rule.metric]\nname = 'x'\n",
        3,
        "rule.metric",
        "",
        "one table",
        "[[rule.metric]]",
    ),
    (
        "target = 'a:f'\nscope = { opens = 'round' }\n",
        3,
        "rule.scope.key",
        "",
        "is missing",
        "new value",
    ),
]

METRIC_FAULTS = [
    ("name = 'x'\nkind = 'counter'\n", 3, "value", "", "is missing", "number"),
    ("kind = 'counter'\nvalue = '1'\n", 3, "name", "", "is missing", ""),
    ("name = 'x'\nvalue = '1'\n", 3, "kind", "", "is missing", "counter"),
    ("name = 'x'\nvalue = '1'\nkind = 'countr'\n", 6, "kind", "'countr'", "one of", "'counter'"),
    ("name = 'a-b'\nvalue = '1'\nkind = 'gauge'\n", 4, "name", "'a-b'", "cannot be there", ""),
    (
        f"name = '{AUTOMATIC_METRIC}'\nvalue = '1'\nkind = 'gauge'\n",
        4,
        "name",
        "",
        "already",
        "Rename",
    ),
    ("name = 'x'\nvalue = 1\nkind = 'gauge'\n", 5, "value", "1", "must be a string", "quotes"),
    (
        "name = 'x'\nvalue = '1'\nkind = 'gauge'\nlabels = { a-b = '1' }\n",
        7,
        "labels.a-b",
        "",
        "'a-b'",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'gauge'\nlabels = { __a = '1' }\n",
        7,
        "labels.__a",
        "",
        "'__a'",
        "`__`",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'histogram'\nlabels = { le = '1' }\n",
        7,
        "labels.le",
        "",
        "has this label",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'gauge'\nbuckets = [1]\n",
        7,
        "buckets",
        "[1]",
        "has no buckets",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'histogram'\nbuckets = [2, 1]\n",
        7,
        "buckets",
        "",
        "larger",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'histogram'\nbuckets = [1, inf]\n",
        7,
        "buckets",
        "",
        "finite",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'histogram'\nbuckets = ['1']\n",
        7,
        "buckets",
        "",
        "numbers",
        "",
    ),
    (
        "name = 'x'\nvalue = '1'\nkind = 'histogram'\nbuckets = [0x" + "f" * 5000 + "]\n",
        7,
        "buckets",
        "large",
        "finite",
        "",
    ),
]


def check(ruleset, fault, line, key, value, says, advises):
    assert fault.line == line
    assert fault.key == key
    assert value in fault.value
    assert says in fault.message
    assert advises in fault.hint
    assert f":{line}: {key}" in str(fault)


@pytest.mark.parametrize(("text", "line", "key", "value", "says", "advises"), AGENT_FAULTS)
def test_a_wrong_setting_is_told_and_has_its_default(loaded, text, line, key, value, says, advises):
    """A fault outside the rules says where and what; the setting falls back to its default."""
    ruleset = loaded(text)
    (fault,) = ruleset.faults
    check(ruleset, fault, line, key, value, says, advises)
    assert fault.rule is None
    assert (ruleset.service, ruleset.packs, ruleset.adopt) == ("", (), ())
    assert ruleset.capture == Capture()


@pytest.mark.parametrize(("text", "line", "key", "value", "says", "advises"), RULE_FAULTS)
def test_a_wrong_rule_switches_off_itself_only(loaded, text, line, key, value, says, advises):
    """A fault in a rule says where and what, and leaves out that rule, not the one after it."""
    ruleset = loaded(f"[[rule]]\n{text}\n[[rule]]\nname = 'good'\ntarget = 'b:g'\n")
    (fault,) = ruleset.faults if "one table" in says else _without_target(ruleset.faults)
    check(ruleset, fault, line, key, value, says, advises)
    assert fault.rule == 0
    assert [rule.name for rule in ruleset.rules] == ["good"]


def _without_target(faults):
    """The faults less that of a target which is missing because it was misspelt."""
    return [fault for fault in faults if fault.message != "is missing."] or faults


@pytest.mark.parametrize(("text", "line", "key", "value", "says", "advises"), METRIC_FAULTS)
def test_a_wrong_metric_switches_off_its_rule(loaded, text, line, key, value, says, advises):
    """A fault in a metric says where and what, and leaves out the rule it belongs to."""
    ruleset = loaded(
        f"[[rule]]\ntarget = 'a:f'\n[[rule.metric]]\n{text}\n[[rule]]\ntarget = 'b:g'\n"
    )
    (fault,) = ruleset.faults
    check(ruleset, fault, line, f"rule.metric.{key}", value, says, advises)
    assert fault.rule == 0
    assert [rule.name for rule in ruleset.rules] == ["g"]


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(loaded):
    """One look at the file is enough to mend all of it."""
    ruleset = loaded(
        """\
        [[rule]]
        target = "a"
        role = "woker"
        [rule.attributes]
        x = "1 +"
        y = "z("
        [agent]
        packs = ["nope"]
        sevice = "x"
        [[rule]]
        """
    )
    own = [fault.line for fault in ruleset.faults if fault.key != "agent.packs"]
    assert own == [2, 3, 5, 6, 9, 10]
    assert [fault.line for fault in ruleset.faults if fault.key == "agent.packs"] == [8]
    assert [fault.rule for fault in ruleset.faults if fault.line in (2, 10)] == [0, 1]


def test_a_rule_becomes_a_value(loaded):
    """Every key of a rule arrives in the rule, expressions with the names they need."""
    (rule,) = loaded(
        """
        [[rule]]
        name = "w"
        target = ["a.b:C.f", "a.*:g"]
        exclude = ["_*", "a.c:g"]
        role = "worker"
        operation = "work"
        agent = "self.name"
        attributes = { "gen_ai.model" = "model", size = "len(result)" }
        failed_if = "not result"
          [[rule.metric]]
          name = "sizes"
          kind = "histogram"
          value = "len(result)"
          labels = { who = "self.name" }
          help = "Sizes."
          buckets = [1, 2.5]
        """
    ).rules
    assert rule.name == "w"
    assert rule.targets[0] == Target("a.b", "C.f", "a.b:C.f")
    assert rule.exclude == (Target("", "_*", "_*"), Target("a.c", "g", "a.c:g"))
    assert (rule.role, rule.operation, rule.agent.text) == ("worker", "work", "self.name")
    assert {name: each.names for name, each in rule.attributes.items()} == {
        "gen_ai.model": {"model"},
        "size": {"result"},
    }
    assert rule.failed_if.text == "not result"
    (metric,) = rule.metrics
    assert (metric.name, metric.kind, metric.help) == ("sizes", "histogram", "Sizes.")
    assert metric.buckets == (1.0, 2.5)
    assert metric.labels["who"].text == "self.name"
    assert hash(rule) == hash(rule)


def test_rules_without_a_name_get_one_of_their_own(loaded):
    """A name comes from the operation or the first function, with a number if it is taken."""
    ruleset = loaded(
        """
        [[rule]]
        target = "a:C.f"
        [[rule]]
        target = "b:C.f"
        [[rule]]
        target = "c:*"
        [[rule]]
        target = "d:f"
        operation = "work"
        [[rule]]
        name = "C.f-2"
        target = "e:f"
        """
    )
    assert ruleset.faults == ()
    assert [rule.name for rule in ruleset.rules] == ["C.f", "C.f-3", "c:*", "work", "C.f-2"]


def test_a_name_is_given_once(loaded):
    """The second rule of a name is left out: reports could not tell the two apart."""
    ruleset = loaded("[[rule]]\nname = 'x'\ntarget = 'a:f'\n[[rule]]\nname = 'x'\ntarget = 'b:f'\n")
    (fault,) = ruleset.faults
    assert (fault.line, fault.key, fault.rule) == (5, "rule.name", 1)
    assert [rule.targets[0].module for rule in ruleset.rules] == ["a"]


@pytest.mark.parametrize(
    ("second", "key"),
    [("kind = 'gauge'", "kind"), ("kind = 'histogram'\nbuckets = [1, 2]", "buckets")],
)
def test_a_metric_has_one_kind_and_one_set_of_buckets(loaded, second, key):
    """A rule whose metric disagrees with an earlier one of that name is left out."""
    metric = "[[rule]]\ntarget = 'a:{}'\n[[rule.metric]]\nname = 'x'\nvalue = '1'\n{}\n"
    first = "kind = 'histogram'\nbuckets = [1]"
    ruleset = loaded(metric.format("f", first) + metric.format("g", second))
    (fault,) = ruleset.faults
    assert fault.key == f"rule.metric.{key}"
    assert fault.rule == 1
    assert [rule.name for rule in ruleset.rules] == ["f"]
    assert loaded(metric.format("f", first) + metric.format("g", first)).faults == ()


def test_an_own_metric_that_disagrees_with_a_pack_is_the_one_at_fault(loaded):
    """What a pack calls a counter cannot be a gauge in one's own file: the pack's rules stay."""
    ruleset = loaded(
        """
        [agent]
        packs = "dytopo"
        [[rule]]
        target = "a:f"
        [[rule.metric]]
        name = "swarm_tokens_total"
        kind = "gauge"
        value = "1"
        """
    )
    (fault,) = ruleset.faults
    assert "pack dytopo" in fault.message
    assert (fault.line, fault.rule) == (8, 0)
    assert {rule.origin.pack for rule in ruleset.rules} == {"dytopo"}


@pytest.mark.parametrize("role", ["governance", "io", "memory", "step", "planner", "code_reviewer"])
def test_roles_of_ones_own_are_fine(loaded, role):
    """A role that resembles no standard one is taken as it is."""
    (rule,) = loaded(f"[[rule]]\ntarget = 'a:f'\nrole = '{role}'\n").rules
    assert rule.role == role


def test_a_decorator_has_the_keys_of_a_rule():
    """The keys of a rule become a rule without targets; the target's own keys are not among them."""
    rule, faults = rule_from("@traced", {"role": "tool", "failed_if": "not result"}, Origin("m"))
    assert faults == ()
    assert (rule.name, rule.role, rule.targets, rule.failed_if.text) == (
        "@traced",
        "tool",
        (),
        "not result",
    )
    rule, faults = rule_from("@traced", {"role": "tol", "target": "a:f", "agent": "("}, Origin("m"))
    assert rule is None
    assert [fault.key for fault in faults] == ["role", "target", "agent"]


EXPORT_FAULTS = [
    ("path = 'x'\n", 1, "export.format", "is missing", ""),
    ("format = 'jager'\npath = 'x'\n", 2, "export.format", "not one of", "'jaeger'"),
    ("format = 'jaeger'\n", 1, "export.path", "is missing", "Only otlp"),
    (
        *("format = 'otlp'\nendpoint = 'localhost:4318'\n", 3, "export.endpoint"),
        *("does not begin with http://", "http://localhost:4318"),
    ),
    ("format = 'otlp'\npath = 'x'\nendpoint = 'http://h'\n", 4, "export.endpoint", "a file", ""),
    ("format = 'otlp'\nevery_seconds = 0\n", 3, "export.every_seconds", "at least 0.1", ""),
    ("format = 'otlp'\nevery_seconds = inf\n", 3, "export.every_seconds", "finite", ""),
    ("format = 'otlp'\nevery_seconds = '5'\n", 3, "export.every_seconds", "a string", ""),
    ("format = 'otlp'\ncontent = 1\n", 3, "export.content", "true or false", ""),
    ("format = 'otlp'\nheaders = ['x']\n", 3, "export.headers", "a table", ""),
    ("format = 'otlp'\nheaders = { 'a b' = 'x' }\n", 3, "export.headers.a b", "a name", ""),
    ("format = 'otlp'\nendpont = 'http://h'\n", 3, "export.endpont", "no such key", "'endpoint'"),
]


@pytest.mark.parametrize(("text", "line", "key", "says", "advises"), EXPORT_FAULTS)
def test_a_fault_in_an_export_switches_off_itself_only(loaded, text, line, key, says, advises):
    """The other exports and all rules count; the fault says where and what to do."""
    good = "[[export]]\nformat = 'csv'\npath = 'spans.csv'\n[[rule]]\ntarget = 'a:f'\n"
    ruleset = loaded(f"[[export]]\n{text}{good}")
    (fault,) = ruleset.faults
    assert (fault.line, fault.key, fault.rule) == (line, key, None)
    assert says in fault.message
    assert advises in fault.hint
    assert [each.path for each in ruleset.exports] == ["spans.csv"]
    assert len(ruleset.rules) == 1


def test_two_exports_do_not_write_over_each_other(loaded):
    """The second table with a path is a fault; a folder may have a file of each format."""
    tables = "".join(
        f"[[export]]\nformat = '{name}'\npath = '{path}'\n"
        for name, path in (("csv", "x"), ("jaeger", "x"), ("csv", "d/"), ("jaeger", "d/"))
    )
    ruleset = loaded(tables)
    (fault,) = ruleset.faults
    assert (fault.key, fault.line) == ("export.path", 6)
    assert [(each.format, each.path) for each in ruleset.exports] == [
        *(("csv", "x"), ("csv", "d/"), ("jaeger", "d/")),
    ]


def test_a_header_is_never_shown(loaded):
    """A header may be a key of access, so no fault quotes it."""
    ruleset = loaded("[[export]]\nformat = 'otlp'\nheaders = { key = \"geheim\\n\" }\n")
    assert ruleset.faults
    assert "geheim" not in str(ruleset.faults[0])


@pytest.mark.parametrize(
    ("address", "right"),
    [
        *((each, True) for each in (":9464", "0.0.0.0:9464", "[::1]:0", "host.example:80")),
        *((each, False) for each in ("9464", "http://x:1", "::1:9464", ":", "h:123456", "a b:1")),
    ],
)
def test_the_address_of_a_scrape_has_a_port(loaded, address, right):
    """Host and port, or a port alone; whatever else is a fault."""
    ruleset = loaded(f"[agent]\nprometheus = '{address}'\n")
    assert ruleset.prometheus == (address if right else "")
    assert bool(ruleset.faults) != right


def test_prices_are_read_by_the_name_of_the_model(loaded):
    """Names may have dots and wildcards; what is missing or no price is a fault of the file."""
    ruleset = loaded('[cost.models."gpt-*.1"]\ninput = 1\noutput = 2.5\n')
    assert ruleset.faults == ()
    (price,) = ruleset.prices
    assert (price.model, price.input, price.output, price.cached) == ("gpt-*.1", 1.0, 2.5, None)
    ruleset = loaded('[cost.models.m]\ninput = "1"\n')
    keys = sorted(fault.key for fault in ruleset.faults)
    assert keys == ["cost.models.m.input", "cost.models.m.output"]
    assert ruleset.prices == ()


def test_what_tells_of_messages_is_kept_under_the_name_of_its_key(loaded):
    """An attribute of the same name would be the same thing twice, and is a fault."""
    ruleset = loaded("[[rule]]\ntarget = 'a:f'\nedges = 'result'\nattributes = { edges = 'x' }\n")
    assert [fault.key for fault in ruleset.faults] == ["rule.attributes.edges"]
    ruleset = loaded("[[rule]]\ntarget = 'a:f'\nedges = 'result'\nreceives = 'x'\n")
    assert set(ruleset.rules[0].topology) == {"edges", "receives"}
