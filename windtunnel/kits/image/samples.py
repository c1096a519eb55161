"""What models of images make of held-out ones, for a reader to see."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.kits.image.patches import to_images, to_patches
from windtunnel.kits.image.pixels import Images

if TYPE_CHECKING:
    from windtunnel.slots import HeldOut

CHOICE = 64  # captions among which the nearest is looked for


def png(pixels: np.ndarray) -> str:
    """``pixels`` uint8 [channels, height, width], one channel or three, as the address of a picture that a page can hold."""
    channels, height, width = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # every line begins with how it was filtered: not at all
    lines[:, 1:] = pixels.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    whole = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + whole).decode("ascii")


def restored(values: np.ndarray, facts: Images) -> np.ndarray:
    """Scaled pixels [..., channels, size, size] as uint8, what :meth:`Images.scaled` undoes."""
    shape = (facts.channels, 1, 1)
    found = (values * facts.deviation.reshape(shape) + facts.mean.reshape(shape)) * 255
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def images_of(held_out: HeldOut, source: str, count: int) -> Iterator[dict[str, np.ndarray]]:
    """The first ``count`` held-out documents of ``source``: each field of the stream by name."""
    from windtunnel.data.loader import Loader

    left = count
    for rows in Loader(held_out.stream, split=held_out.split, context=held_out.context, sequences=1).fixed(source):
        for place in np.flatnonzero(rows["documents"][0] >= 0)[:left]:
            yield {name: rows[name][0, place] for name in held_out.stream.fields}
            left -= 1
        if left <= 0:
            return


def samples(model: Any, held_out: HeldOut, count: int) -> list[dict[str, Any]]:
    """For ``count`` held-out images of each source: the image, and what ``model`` draws where it cannot see, or which class it names."""
    import torch

    from windtunnel.models.forward import forward
    from windtunnel.models.init import family_of

    family, facts, found = family_of(model.config), held_out.facts, []
    for source in held_out.sources:
        for number, document in enumerate(images_of(held_out, source, count)):
            pixels, label = document["pixels"], int(document["label"])
            one: dict[str, Any] = {"source": source, "prompt": f"image {number + 1}", "pictures": {"image": png(pixels)}}
            cut = torch.from_numpy(np.ascontiguousarray(to_patches(facts.scaled(pixels[None]), family.patch))).to(held_out.device)  # type: ignore[attr-defined]
            masked = torch.from_numpy(np.random.default_rng(number).random(cut.shape[:2]) < 0.5).to(held_out.device)
            with torch.no_grad():
                if family.kind == "image-encoder":
                    drawn = forward(model, pixels=cut, masked=masked).logits.float()
                    hidden = masked[..., None]
                    one["pictures"]["seen"] = _picture(torch.where(hidden, cut.new_zeros(()), cut), family, facts)
                    one["drawn"] = _picture(torch.where(hidden, drawn, cut), family, facts)
                elif family.kind == "image-classifier":
                    shares = forward(model, pixels=cut).logits.float().softmax(-1)[0]
                    one["continuation"] = f"class {int(shares.argmax())} ({float(shares.max()):.0%})"
            found.append(one | ({"truth": f"class {label}"} if label >= 0 else {}))
    return found


def _picture(patches: Any, family: Any, facts: Images) -> str:
    images = to_images(patches.cpu().numpy(), family.patch, facts.size, facts.size)
    return png(restored(images[0], facts))


def captioned(model: Any, held_out: HeldOut, count: int, tokenizer: Any) -> list[dict[str, Any]]:
    """For ``count`` held-out pairs of each source: the image, its caption, and the nearest of the first 64 held-out captions."""
    import torch
    from torch.nn.functional import normalize

    from windtunnel.models.forward import forward
    from windtunnel.models.init import family_of

    patch, facts, found = family_of(model.config).patch, held_out.facts, []  # type: ignore[attr-defined]
    for source in held_out.sources:
        pairs = list(images_of(held_out, source, CHOICE))
        rows = np.stack([pair["caption"] for pair in pairs]).astype(np.int64)
        cut = np.ascontiguousarray(to_patches(facts.scaled(np.stack([pair["pixels"] for pair in pairs[:count]])), patch))
        with torch.no_grad():
            images = forward(model, pixels=torch.from_numpy(cut).to(held_out.device)).image_embeds
            texts = forward(model, captions=torch.from_numpy(rows).to(held_out.device)).text_embeds
        nearest = (normalize(images.float(), dim=-1) @ normalize(texts.float(), dim=-1).T).argmax(dim=1).tolist()
        said = [tokenizer.decode(row[: int((row == facts.text.document).argmax())].tolist()) for row in rows]
        for number, pair in enumerate(pairs[:count]):
            picture = {"pictures": {"image": png(pair["pixels"])}}
            one = {"source": source, "prompt": f"pair {number + 1}", "truth": said[number], "continuation": said[nearest[number]]}
            found.append(one | picture)
    return found
