"""Fitted curves over the results of studies, with their uncertainty."""

# Laws of tables: `windtunnel law NAME TABLE`, and the function of that name in the module of that name.
OF_TABLES = (
    "advantage",
    "best-rate",
    "capacity",
    "chinchilla",
    "critical-batch",
    "downstream",
    "dynamics",
    "frequency",
    "isoflop",
    "learning-curve",
    "mixture",
    "order",
    "repeated",
    "retention",
    "schedule",
    "strategies",
    "trajectory",
    "under-cost",
)
