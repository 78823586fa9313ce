"""`consent-relay demo`."""

from pathlib import Path

import click

from local_stack.cli.surroundings import prepare_to_start


@click.command()
@click.option("--people", envvar="DEMO_PEOPLE", default=2_000, show_default=True, help="How many people choose.")
@click.option("--seconds", envvar="DEMO_SECONDS", default=30.0, show_default=True, help="How long live traffic lasts.")
@click.option("--rate", envvar="DEMO_RATE", default=50.0, show_default=True, help="Live choices a second.")
@click.option(
    "--imported", envvar="DEMO_IMPORTED", default=20_000, show_default=True, help="Historic refusals that are imported."
)
@click.option("--seed", envvar="DEMO_SEED", type=int, help="Repeats a run's people, choices and victim.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".local/demo"),
    show_default=True,
    help="Where data and logs go; what an earlier demo left there is removed.",
)
def demo(people: int, seconds: float, rate: float, imported: int, seed: int | None, directory: Path) -> None:
    """Play the main job on real servers, break things on purpose, and compare every decision at the end.

    Every person chooses, half by HTTP and half by Kafka; then live traffic with duplicates, late older grants and
    invalid records, while historic refusals are imported, a destination is added and filled, one tool is down for 5 s
    and one process is killed with -9. The exit code is 0 only when nothing was lost, nothing wrongly permitted, and
    every tool and the gate hold what was decided.
    """
    import secrets

    from local_stack.demo.population import MOST_PEOPLE
    from local_stack.demo.run import run
    from local_stack.demo.scenario import DemoOptions

    prepare_to_start(directory)
    if not 1 <= people <= MOST_PEOPLE:
        raise click.BadParameter(
            f"between 1 and {MOST_PEOPLE}: the reserved numbers go no further", param_hint="people"
        )
    if seconds < 0 or rate <= 0 or imported < 0:
        raise click.BadParameter(
            "seconds and imported cannot be negative, and the rate must be above 0",
            param_hint="seconds, rate, imported",
        )
    options = DemoOptions(
        people=people,
        imported=imported,
        seconds=seconds,
        rate=rate,
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )
    raise SystemExit(run(directory.absolute(), options))
