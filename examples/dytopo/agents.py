"""The team: five agents who build software together, and the manager's name."""

from .models import AgentSpec

MANAGER_ID = "manager"
DOMAIN = "software"

TEAM = (
    AgentSpec(
        agent_id="researcher",
        role="researcher",
        mission="Find the facts that the others build on, and say how certain they are.",
        needs="Open questions that facts can settle.",
        offers="Facts and figures.",
    ),
    AgentSpec(
        agent_id="designer",
        role="designer",
        mission="Decide the interface and the structure, and keep both small.",
        needs="Requirements and facts.",
        offers="The agreed interface design.",
    ),
    AgentSpec(
        agent_id="developer",
        role="developer",
        mission="Write the code, complete and runnable.",
        needs="The agreed interface design.",
        offers="Complete code of the class.",
    ),
    AgentSpec(
        agent_id="tester",
        role="tester",
        mission="Write tests, run them, and report what fails.",
        needs="Complete code of the class.",
        offers="Unit tests, edge cases and a test report.",
    ),
    AgentSpec(
        agent_id="reviewer",
        role="reviewer",
        mission="Read everything and say whether it may be released.",
        needs="Complete code and the test report.",
        offers="A verdict and remarks.",
    ),
)
