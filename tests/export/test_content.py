"""What is content, and that none of it goes out unasked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.export.content import WORDS, looks_like_content, without_content
from dytopo_autotrace.export.formats import FORMATS, render
from dytopo_autotrace.export.run import Run, withheld
from tests.export.sample_runs import records, span, swarm


@pytest.mark.parametrize(
    "key",
    [
        *("task", "goal", "round_goal", "final_answer", "reasoning", "messages", "work", "query"),
        *("prompt", "system_prompt", "userPrompt", "userInput", "input", "key", "fix_hint"),
        *("gen_ai.input.messages", "gen_ai.system_instructions", "gen_ai.tool.call.arguments"),
        *("input.value", "output.value", "traceloop.entity.input", "gen_ai.prompt.0.content"),
        *("llm.input_messages.0.message.content", "gen_ai.tool.definitions", "HTTPResponse"),
        *("tool.parameters", "request_params", "llm.prompt_template.variables", "template"),
    ],
)
def test_content_is_known_by_its_key(key):
    """Names under which prompts and answers are usually kept, in any spelling."""
    assert looks_like_content(key)


@pytest.mark.parametrize(
    "key",
    [
        *("task_id", "tokens_in", "prompt_tokens", "message_count", "input_length", "agent_role"),
        *("model", "tau", "edges", "isolated", "termination_reason", "query_type", "answer_score"),
        *("error_message", "exception.message", "llm.input_messages.0.message.role", "round", ""),
        *("network", "workflow", "keyboard", "restaurant", "taskforce"),
    ],
)
def test_what_is_not_content_stays(key):
    """Ids, counts and sizes of content are none, nor is what an error says, nor a chance syllable."""
    assert not looks_like_content(key)


def test_numbers_are_never_content():
    """How many messages there were is no message."""
    values = {"messages": 3, "work": 0.5, "goal": None, "answer": True}
    assert without_content(values) == (values, 0)


def test_content_inside_of_values_is_left_out_too():
    """Tables and lists of tables are looked through, and each value left out is counted."""
    values = {"stats": {"n": 1, "prompt": "hi"}, "calls": [[{"id": "a", "answer": "b"}], "c"]}
    assert without_content(values) == ({"stats": {"n": 1}, "calls": [[{"id": "a"}], "c"]}, 2)


@given(st.sampled_from(sorted(WORDS)), st.sampled_from(["{}", "my_{}", "the{}Of", "a.{}.b"]))
def test_every_word_counts_wherever_it_stands(word, pattern):
    """A word of the list makes a key content, in any style of writing names."""
    shaped = word.capitalize() if "Of" in pattern else word
    assert looks_like_content(pattern.format(shaped))


SECRET = "correct horse battery staple"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])
def test_no_format_tells_what_was_said(name):
    """Content is in none of the formats unless it was asked for, and the count is the same for all."""
    said = {"task": SECRET, "messages": [{"role": "user", "content": SECRET}], "n": 1}
    run = records(
        [
            span(1, "op", 0, 1, role="orchestrator", **said),
            span(2, "op", 0, 1, parent=1, role="llm", stats={"prompt": SECRET}),
        ],
        argv=("x.py", "--task", SECRET),
    )
    assert SECRET.encode() not in b"".join(render(name, run))
    assert withheld(Run(run)) == 3
    asked = b"".join(render(name, run, content=True))
    metrics = ("otlp-metrics", "prometheus", "openmetrics", "mermaid", "graphviz")
    assert (SECRET.encode() in asked) == (name not in metrics or name == "otlp-metrics")


def test_asking_for_content_leaves_nothing_out():
    """With content, nothing is withheld."""
    assert withheld(Run(swarm(), content=True)) == 0
