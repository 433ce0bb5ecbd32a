"""Nothing to configure: Tocsin's pytest plugin is installed with the package (`tocsin.pytest_plugin`).

    pytest experiments --target sandbox             every drill
    pytest experiments --target sandbox -k gate     those with the tag `gate`
    pytest synthetics contracts --target staging    canaries and contracts, against a target of tocsin.toml
    pytest                                          the tests of Tocsin itself, without any target

Fixtures of your own for canaries or tests would go here. Those of Tocsin's own tests are in `tests/`.
"""
