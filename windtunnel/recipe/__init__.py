"""Recipes: everything that determines one trained model except the seed, read from YAML with errors that point."""

from windtunnel.recipe.budget import USUAL, Budget
from windtunnel.recipe.nesting import (
    MERGED,
    OWN,
    NestedError,
    at_rate,
    completed,
    data_key,
    each_recipe,
    held_by,
    held_by_curators,
    load_recipe,
    merge,
    needed,
    recipe_from,
    refuse_unused,
    run_name,
    times,
)
from windtunnel.recipe.phase import Phase
from windtunnel.recipe.recipe import FORMAT, Recipe, shorthand, sources_from
from windtunnel.recipe.settings import SplitSettings
from windtunnel.recipe.yaml import Document

__all__ = [
    "FORMAT",
    "MERGED",
    "OWN",
    "USUAL",
    "Budget",
    "Document",
    "NestedError",
    "Phase",
    "Recipe",
    "SplitSettings",
    "at_rate",
    "completed",
    "data_key",
    "each_recipe",
    "held_by",
    "held_by_curators",
    "load_recipe",
    "merge",
    "needed",
    "recipe_from",
    "refuse_unused",
    "run_name",
    "shorthand",
    "sources_from",
    "times",
]
