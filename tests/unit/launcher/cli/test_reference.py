"""The reference tables for the documentation."""

import re
import subprocess
import sys

import pytest
from cfnlint.decode import cfn_yaml

from launcher import ROOT
from launcher.cli import reference
from launcher.cli.commands import COMMANDS, SWITCHES
from launcher.cli.options import OPTIONS
from launcher.errors import EXIT_CODES
from launcher.plan import prices

NAMES = ["commands", "options", "exit codes", "person policy", "instances and prices"]


@pytest.fixture(scope="module")
def tables():
    return reference.tables()


def cells(table):
    """The cells of all rows below the header."""
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in table.splitlines()[2:]]


@pytest.mark.parametrize("name", NAMES)
def test_each_table_is_markdown_with_as_many_cells_in_each_row(tables, name):
    assert list(tables) == NAMES
    lines = tables[name].splitlines()
    assert len(lines) > 2 and set(lines[1]) == set("|- ")
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {lines[0].count("|")}


def test_commands_options_and_exit_codes_are_complete(tables):
    assert [row[0] for row in cells(tables["commands"])] == [f"`{name}`" for name in COMMANDS]
    assert [row[0] for row in cells(tables["exit codes"])] == [f"`{code}`" for code in EXIT_CODES]
    flags = {row[0] for row in cells(tables["options"])}
    for option in (*OPTIONS.values(), *SWITCHES.values()):
        assert any(flag.startswith(f"`{option.flag}") for flag in flags), option.flag
    by_flag = {row[0]: row[1:] for row in cells(tables["options"])}
    assert by_flag["`--max-run SECONDS`"][:2] == ["`max_run`", "`86400`"]
    assert by_flag["`--spot`, `--no-spot`"][0] == "`spot`"
    assert by_flag["`--config FILE`"][2] == "all but `predict`, `serve`"
    assert by_flag["`--max-jobs N`"][2] == "`plan`, `tune`"
    tags = [row[1:3] for row in cells(tables["options"]) if row[0] == "`--tag NAME=VALUE` (repeatable)"]
    assert tags == [["`tag`", ""], ["", ""]]  # of jobs, and of endpoints
    assert by_flag["`--limit N`"] == ["", "`20`", "`list`", "maximum number of jobs"]


def test_the_policy_table_lists_what_the_template_allows(tables):
    template = cfn_yaml.load(str(reference.TEMPLATE))
    statements = template["Resources"]["PersonPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    allowed = {
        action
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    rows = cells(tables["person policy"])
    assert {f"{row[0].strip('`')}:{name}" for row in rows for name in re.findall(r"`(\w+)`", row[2])} == allowed
    [servicequotas] = [row for row in rows if row[0] == "`servicequotas`"]
    assert servicequotas == ["`servicequotas`", "all", "`ListServiceQuotas`"]


def test_instances_have_their_gpus_and_prices(tables):
    rows = {row[0]: row[1:] for row in cells(tables["instances and prices"])}
    assert len(rows) == len(prices.rows())
    assert rows["`ml.g5.12xlarge`"] == ["A10G", "4", "24 GB", "7.09", "2.13-4.96", "2025-06"]
    assert rows["`ml.m5.xlarge`"][:3] == ["", "", ""]
    for row in prices.rows():
        assert (int(row["gpus"]) > 0) == row["instance_type"].startswith("ml.g")


def test_the_tables_need_no_aws_package():
    script = "from launcher.cli import reference; reference.tables(); import sys; assert 'boto3' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
