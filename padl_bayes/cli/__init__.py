"""The command ``padl``."""

import click

from padl_bayes import __version__
from padl_bayes.cli.bench import bench
from padl_bayes.cli.compress import compress
from padl_bayes.cli.demo import demo
from padl_bayes.cli.fit import fit
from padl_bayes.cli.report import report
from padl_bayes.cli.sample import sample
from padl_bayes.cli.tradeoff import tradeoff
from padl_bayes.cli.transform import transform

EPILOG = """\b
Exit codes: 0 done; 1 an error of the program;
2 what cannot be done, said in one line on standard error; 130 interrupted.

\b
With --json the last line on standard output is one JSON object:
what was written, or {"error": ...}.

\b
Completion of commands and options with the tab key:
  bash   eval "$(_PADL_COMPLETE=bash_source padl)"   in ~/.bashrc
  zsh    eval "$(_PADL_COMPLETE=zsh_source padl)"    in ~/.zshrc
  fish   _PADL_COMPLETE=fish_source padl | source    in ~/.config/fish/completions/padl.fish
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(__version__, prog_name="padl")
def main():
    """Dictionary learning with uncertainty."""


for command in (demo, fit, transform, sample, tradeoff, compress, report, bench):
    main.add_command(command)
