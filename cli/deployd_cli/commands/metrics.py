"""deployd metrics: the metrics of all apps for Prometheus."""

from __future__ import annotations

from pathlib import Path

import typer

from deployd.errors import DeploydError

OUTPUT = typer.Option("", "--output", metavar="FILE", help="Write the file, whole or not at all.", show_default=False)
SERVE = typer.Option(False, "--serve", help="Answer at the socket that systemd passes; see deployd-metrics.socket.")


def metrics(output: str = OUTPUT, serve: bool = SERVE) -> None:
    """Print metrics of all apps for Prometheus. Changes nothing."""
    if serve and output:
        raise typer.BadParameter("--serve cannot be combined with --output; use one of them")
    try:
        from deployd_cli.monitoring import exporter
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise DeploydError(
            "metrics need the Python package prometheus_client: install python3-prometheus-client"
        ) from None
    if serve:
        exporter.serve()
        return
    text = exporter.text()
    if output:
        from deployd_cli import file_writer

        file_writer.write(Path(output).absolute(), text, replace=True)
    else:
        print(text, end="")
