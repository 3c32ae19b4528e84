"""`moa serve`: specs as models of an OpenAI-compatible server."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, KeyEnv
from moa_graph.cli.text import count
from moa_graph.errors import MoAError

if TYPE_CHECKING:
    from moa_graph.server.settings import Settings
    from moa_graph.spec.schema import MoASpec

__all__ = ["serve"]


def serve(
    specs: Annotated[
        list[str], typer.Argument(metavar="SPEC", help="The spec files; each one's name is a model.")
    ],
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
    reuse_port: Annotated[
        bool, typer.Option("--reuse-port", help="Share the port with other processes that say so, too.")
    ] = False,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="MOA_KEYS", help="The keys that callers must show (`moa keys add`)."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that requests may be addressed to. Repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A page's origin that browsers may ask from. Repeatable."),
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="For keys that have no limit of their own.")
    ] = None,
    runs_per_key: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs at once of one key, as above.")
    ] = None,
    cost_per_day: Annotated[
        float | None, typer.Option(metavar="USD", min=0, help="What a key may spend in a day, as above.")
    ] = None,
    max_runs: Annotated[int, typer.Option(metavar="N", min=1, help="Runs at once, of all.")] = 256,
    queue: Annotated[int, typer.Option(metavar="N", min=0, help="Requests that may wait beside them.")] = 256,
    background: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Background runs at once here; 0 leaves them to `moa worker`."),
    ] = 8,
) -> None:
    """Serve specs as models to any OpenAI client: chat completions and responses.

    Only this machine can ask, unless --host names another interface, which takes --keys. A line of JSON for
    each request goes to stderr. Ctrl-C or SIGTERM ends it in good order.
    """
    from moa_graph.extras import needing  # noqa: PLC0415 -- the server is an extra, and heavy

    with needing("server"):
        import uvicorn  # noqa: F401, PLC0415 -- an extra

        from moa_graph.server.keys import KeyLimits  # noqa: PLC0415 -- an extra
        from moa_graph.server.opening import check  # noqa: PLC0415 -- an extra
        from moa_graph.server.settings import Settings  # noqa: PLC0415 -- an extra
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- costs start-up time

    settings = Settings(
        host=host,
        port=port,
        reuse_port=reuse_port,
        db=db,
        db_key_env=key_env,
        keys=keys,
        hosts=allow_host or (),
        origins=allow_origin or (),
        limits=KeyLimits(requests_per_minute, runs_per_key, cost_per_day),
        at_once=max_runs,
        queue=queue,
        background=background,
    )
    loaded = [load_spec(spec) for spec in specs]
    check(settings, loaded)
    _serve(settings, loaded)


def _serve(settings: Settings, specs: list[MoASpec]) -> None:
    import asyncio  # noqa: PLC0415 -- costs start-up time
    import logging  # noqa: PLC0415 -- as above

    from moa_graph.server.serving import serve as run  # noqa: PLC0415 -- an extra

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )

    def ready(port: int) -> None:
        host = settings.host.strip("[]")
        host = f"[{host}]" if ":" in host else host
        models = ", ".join(spec.name for spec in specs)
        typer.echo(f"http://{host}:{port}/v1 serves {count(len(specs), 'model')}: {models}", err=True)

    try:
        asyncio.run(run(settings, specs, write=_write, ready=ready))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        where = f"{settings.host}:{settings.port}"
        if taken:
            hint = "Choose another --port, or --port 0 for a free one."
            raise MoAError(f"cannot listen on {where}: somebody else does", hint=hint) from error
        raise MoAError(f"cannot listen on {where}: {error}", hint="Check --host and --port.") from error


def _write(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
