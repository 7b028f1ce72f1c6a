"""The command `migrate`: bring the ledger's tables to this version, from a clone or a wheel."""

from __future__ import annotations

import click
from alembic import command

from tasks.database import migrate as bring
from tasks.database import migration_config
from tasks.errors import NoStack
from tasks.settings import read_settings


@click.command()
@click.option("--sql", is_flag=True, help="print the statements, for someone else to run")
@click.option("--down", metavar="REVISION", default="", help="go back, before an older version")
def migrate(sql: bool, down: str) -> None:
    """Bring the tables of HIERDIFF_DATABASE_URL to this version; two at once take turns."""
    if sql:
        command.upgrade(migration_config(), "head", sql=True)
        return
    settings = read_settings()
    if settings.database_url is None:
        raise NoStack(home=settings.home)
    revision = bring(settings.database_url.get_secret_value(), down)
    click.echo(f"the tables are at revision {revision}")
