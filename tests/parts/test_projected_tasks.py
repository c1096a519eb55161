"""How tasks are drawn, that labels come late, and the nearest image before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.projected_tasks import UNSEEN, ProjectedTasks, TaskRows, bases, drawn, nearest, right, task


def base():
    return bases("projected-tasks", 4, 12, np.random.default_rng(320))


def test_bases_are_apart_and_scaled():
    train, held, other = base()
    assert np.allclose(train.images.std(axis=0), 1) and np.allclose(train.images.mean(axis=0), 0)
    assert {row.tobytes() for row in train.images}.isdisjoint({row.tobytes() for row in np.concatenate([held.images, other.images])})
    assert all(set(each.labels) == set(range(4)) for each in (train, held, other))


def test_a_row_is_a_task_and_labels_come_one_place_late():
    train = base()[0]
    tasks = [task(0, number, train) for number in (3, 3, UNSEEN + 3)]
    assert np.array_equal(tasks[0][0], tasks[1][0]) and not np.allclose(tasks[0][0], tasks[2][0])
    rows = drawn(train, tasks, 6, np.random.default_rng(321))
    back = np.linalg.solve(tasks[0][0], rows.given[0, :, :12].numpy().T).T
    place = [int(np.abs(train.images - one).sum(axis=1).argmin()) for one in back]
    assert np.allclose(train.images[place], back, atol=1e-3)
    assert np.array_equal(tasks[0][1][train.labels[place]], rows.labels[0].numpy())
    assert (rows.given[:, 0, 12:] == 0).all() and torch.equal(rows.given[:, 1:, 12:].argmax(dim=2), rows.labels[:, :-1])


def test_the_nearest_before_and_not_itself():
    images = torch.tensor([[[0.0], [5.0], [0.1], [5.2]]])
    rows = TaskRows(torch.cat([images, torch.zeros(1, 4, 2)], dim=2), torch.tensor([[0, 1, 0, 0]]))
    assert nearest(rows, slice(2, None), 1) == 0.5


@pytest.mark.parametrize("network", ["attention", "recurrent"])
def test_a_label_is_told_from_what_stands_before(network):
    part = ProjectedTasks(network=network, classes=4, inputs=12, examples=8, width=16)
    model, train = part._network(322), base()[0]
    rows = drawn(train, [task(0, 1, train)], 8, np.random.default_rng(323))
    with torch.no_grad():
        first = model(rows.given)
        rows.given[0, 5] += 1
        moved = (model(rows.given) - first).abs().sum(dim=2)[0]
    assert moved[:5].max() < 1e-5 < moved[5] and 0 <= right(model, rows, slice(None)) <= 1
