"""Read the labels of images that come as the rows of one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.data.folder_labels import (
    LABEL_NAME,
    NAMED_COLUMNS,
    UNLABELLED,
    FolderLabels,
    from_rows,
    has_values,
    name_classes,
)
from training.data.labels import DEFAULT_COLUMNS, LabelColumn, read_label_rows
from training.data.tables import Table


def read_row_labels(table: Table, columns: Sequence[LabelColumn] = ()) -> FolderLabels:
    """Read the label of each row: of the chosen columns, or of `label`, named by `label_name` if there is one.

    Raises: DataError naming the row at fault.
    """
    if columns:
        rows = [row.names for row in read_label_rows(table, columns)]
        return from_rows(columns, rows)
    if not has_values(table, "label"):
        return UNLABELLED
    named = NAMED_COLUMNS if has_values(table, LABEL_NAME) else (*DEFAULT_COLUMNS, *DEFAULT_COLUMNS)
    return name_classes([row.names for row in read_label_rows(table, named)])


def name_values(columns: Sequence[LabelColumn], class_names: Mapping[str, Sequence[str]]) -> list[LabelColumn]:
    """Return the columns with the names of their values 0, 1, ... where the data declare some and none are chosen."""
    declared = {column: {str(k): name for k, name in enumerate(names)} for column, names in class_names.items()}
    return [c if c.names else c.model_copy(update={"names": declared.get(c.column, {})}) for c in columns]
