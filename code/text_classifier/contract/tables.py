"""The public CSV files of a job: their columns and the meanings of these. docs/outputs.md is generated from them.

The rules for changes are those of schema.py.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NotRequired, TypedDict

LABEL_ISSUES = "label_issues.csv"

Prediction = TypedDict(
    "Prediction",
    {
        "row": Annotated[str, "File and line (or row) of the text"],
        "id": NotRequired[Annotated[str, "Value of `id_column`, if it is set"]],
        "label": NotRequired[Annotated[str, "The true class, labels or number; not in the output of `predict`"]],
        "predicted": Annotated[str, "The predicted class, labels or number"],
        "probability_<class>": NotRequired[
            Annotated[float, "Probability of each class; not with regression, nor with more than 200 classes"]
        ],
        "top_<rank>": NotRequired[Annotated[str, "With more than 200 classes: the five most probable ones"]],
        "top_<rank>_probability": NotRequired[Annotated[float, "Their probabilities"]],
    },
)


class LabelIssue(TypedDict):
    row: Annotated[str, "File and line (or row) of the text"]
    id: NotRequired[Annotated[str, "Value of `id_column`, if it is set"]]
    basis: Annotated[
        Literal["out-of-sample", "in-sample"],
        "Training rows are in-sample: the model has learned them, which hides some of their mistakes. With "
        "`cross_validation` a model that has not learned them judges them, out-of-sample",
    ]
    label: Annotated[str, "The given class, labels or number"]
    predicted: Annotated[str, "The predicted class, labels or number"]
    doubted_label: NotRequired[Annotated[str, "The label that is furthest off; multi_label only"]]
    probability_of_label: NotRequired[
        Annotated[
            float, "Probability of the given class (multi_label: that `doubted_label` is as given); not with regression"
        ]
    ]
    error: NotRequired[Annotated[float, "Predicted minus given number; regression only"]]
    standardized_error: NotRequired[
        Annotated[float, "The error's size in root mean squared errors of the split; regression only"]
    ]


def csv_header(classes: Sequence[str], *, has_ids: bool, has_labels: bool, ranks: int = 0) -> list[str]:
    """The columns of a file of predictions; `classes` are those with probabilities, `ranks` the most probable ones."""
    absent = {name for name, is_there in (("id", has_ids), ("label", has_labels)) if not is_there}
    columns: list[str] = []
    for name in Prediction.__annotations__:
        if name == "probability_<class>":
            columns += [f"probability_{each}" for each in classes]
        elif "<rank>" in name:
            columns += [name.replace("<rank>", str(rank)) for rank in range(1, ranks + 1)]
        elif name not in absent:
            columns.append(name)
    return columns


def issue_header(doubt_columns: Sequence[str], *, has_ids: bool) -> list[str]:
    """The columns of label_issues.csv; `doubt_columns` are those of the task."""
    optional = LabelIssue.__optional_keys__ - set(doubt_columns) - ({"id"} if has_ids else set())
    return [name for name in LabelIssue.__annotations__ if name not in optional]
