"""Describe a finished export: its README.md and its Croissant metadata.

README.md has the front matter that the Hugging Face hub reads; croissant.json is JSON-LD of Croissant 1.0
(https://docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

from __future__ import annotations

import json
from typing import Any

from models.manifest import Manifest
from service.export.formats import parquet_features
from service.export.plan import ExportContext, ExportSpec, Format
from service.export.progress import format_count, format_size

# https://huggingface.co/docs/hub/datasets-cards: the sizes that the hub knows.
_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))
_HUB_FILES: dict[Format, str] = {
    "imagefolder": "{split}/**",
    "webdataset": "data/{split}-*.tar",
    "parquet": "data/{split}-*.parquet",
}
_READ: dict[Format, str] = {
    "imagefolder": 'datasets.load_dataset("imagefolder", data_dir=FOLDER, drop_labels=True)',
    "webdataset": 'webdataset.WebDataset("FOLDER/data/{split}-{{00000..{last}}}.tar").decode("pil")',
    "parquet": 'datasets.load_dataset("parquet", data_files="FOLDER/data/*.parquet")',
    "npz": 'numpy.load("FOLDER/data/{split}-00000.npz")["images"]  # uint8 (n, H, W, C); labels, addresses',
    "idx": "file = gzip.open('FOLDER/{split}-images-idx3-ubyte.gz')\n"
    "numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, {height}, {width})\n"
    "# The labels: offset=8. torchvision.datasets.MNIST(ROOT) wants the plain files of a train and of a test export,\n"
    "# together in ROOT/MNIST/raw.",
}
_MEDIA: dict[str, str] = {
    "tar": "application/x-tar",
    "parquet": "application/x-parquet",
    "npz": "application/zip",
    "gz": "application/gzip",
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
}


def make_title(spec: ExportSpec) -> str:
    """Return a name for the data set."""
    return f"{spec.model}-{spec.version}-{'walk' if spec.walk else f'seed{spec.seed}'}"


def describe(spec: ExportSpec, model: Manifest) -> str:
    """Describe the data set in a sentence."""
    shape = model.image
    colour = "RGB" if shape.channels == 3 else "grey"
    return (
        f"{spec.count} synthetic images ({shape.width}x{shape.height}, {colour}) minted by the generator "
        f"{model.name} {model.version} {_describe_source(spec)}. No image shows anything real."
    )


def _describe_source(spec: ExportSpec) -> str:
    if spec.walk:
        return f"on a walk {'in a circle ' if spec.loop else ''}from address to address: {', '.join(spec.walk)}"
    return f"from seed {spec.seed}"


def _describe_places(spec: ExportSpec) -> str:
    if spec.walk:
        return "Image k of the data set, counted from 0, is step k of the walk."
    return f"Image k of the data set, counted from 0, is the one at seed {spec.seed} and index {spec.index} + k."


def make_readme(context: ExportContext, dataset_manifest: dict[str, Any]) -> str:
    """Return README.md, a Hugging Face data set card."""
    spec = context.spec
    model = context.manifest
    front = "\n".join(f"{name}: {json.dumps(value)}" for name, value in _front_matter(spec, model).items())
    shards = format_count(len(dataset_manifest["shards"]), "shard")
    last = f"{len(dataset_manifest['shards']) - 1:05d}"
    split = "t10k" if spec.format == "idx" and spec.split == "test" else spec.split
    labels = "\n".join(f"| {row['label']} | {row['name']} | {row['images']} |" for row in dataset_manifest["labels"])
    classes = f"\n| label | class | images |\n| --- | --- | --- |\n{labels}\n" if labels else ""
    marked = (
        "Every file says in its XMP that it is synthetic (IPTC DigitalSourceType `trainedAlgorithmicMedia`)\n"
        "and carries the address that mints it again."
        if spec.image_format
        else "The format has no place for marks in an image. " + _describe_places(spec)
    )
    if spec.c2pa_signer:
        marked += f"\nIt has Content Credentials (C2PA), signed by `{spec.c2pa_signer}`; without them:"
    data = model.training.data
    use = f"\n## Use\n\n{data.use}\n" if data.use else ""
    return f"""---
{front}
---

# {make_title(spec)}

{describe(spec, model)}

| | |
| --- | --- |
| images | {spec.count} in {shards}, {format_size(dataset_manifest["bytes"])} |
| format | {spec.format}{f", {spec.image_format}" if spec.image_format else ""} |
| labels | {_labels_text(spec, model)} |
| psi | {spec.psi:g} |
| model | {model.name} {model.version}, {model.description} |
| model digest | `{spec.model_digest}` |
| licence of the weights | {model.licence} |
| trained on | {data.name} |
| licence of the training data | {data.licence} |
| attribution | {data.attribution or "not stated"} |
{classes}{use}
## Read it

```python
{_READ[spec.format].format(split=split, last=last, height=model.image.height, width=model.image.width)}
```

## Where it comes from

{marked} Same address, same bytes: `ganmint dataset verify`
mints images again and compares; `manifest.json` has the digest of every file. Made by
{" and then ".join(f"`{command}`" for command in _commands(spec))}.
"""


def _front_matter(spec: ExportSpec, model: Manifest) -> dict[str, Any]:
    task = "image-classification" if model.class_names else "unconditional-image-generation"
    front: dict[str, Any] = {
        "pretty_name": make_title(spec),
        "license": "other",
        "license_name": model.licence,
        "tags": ["synthetic", "ganmint"],
        "task_categories": [task],
        "size_categories": [next((name for name, below in _SIZES if spec.count < below), "n>10M")],
    }
    if pattern := _HUB_FILES.get(spec.format):
        files = {"split": spec.split, "path": pattern.format(split=spec.split)}
        front["configs"] = [{"config_name": "default", "data_files": [files]}]
    return front


def _labels_text(spec: ExportSpec, model: Manifest) -> str:
    if not model.class_names:
        return "none"
    if spec.labels is None:
        return "drawn from the seed"
    if spec.labels == "balanced":
        return "balanced: index modulo the number of classes"
    return f"all {spec.labels} ({model.class_name(spec.labels)})"


def _commands(spec: ExportSpec) -> list[str]:
    """Return a command for each time that the export was extended within a shard, which cut the shard."""
    return [_command(spec, count) for count in spec.counts]


def _command(spec: ExportSpec, count: int) -> str:
    source = [f"--walk '{stop}'" for stop in spec.walk] or [f"--seed {spec.seed}"]
    parts = [f"ganmint export {spec.model}/{spec.version} --count {count} {' '.join(source)} --format {spec.format}"]
    parts += ["--loop"] if spec.loop else []
    parts += [f"--index {spec.index}"] if spec.index else []
    parts += [f"--labels {spec.labels}"] if spec.labels is not None else []
    parts += [f"--psi {spec.psi:g}"] if spec.psi != 1 else []
    parts += [f"--image-format {spec.image_format}"] if spec.image_format not in (None, "png") else []
    parts += ["--c2pa-key KEY --c2pa-cert CHAIN"] if spec.c2pa_signer else []
    parts += [f"--split {spec.split}"] if spec.split != "train" else []
    return " ".join([*parts, f"--shard-size {spec.shard_size} --out URL"])


def make_croissant(context: ExportContext, dataset_manifest: dict[str, Any]) -> dict[str, Any]:
    """Return croissant.json as JSON-LD."""
    spec = context.spec
    model = context.manifest
    data = model.training.data
    record_set = _record_set(spec, model)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": make_title(spec).replace(".", "-"),
        "description": describe(spec, model),
        "license": model.licence,
        "version": model.version,
        "keywords": ["synthetic"],
        "citeAs": data.attribution or "not stated",
        "isLiveDataset": False,
        "distribution": [*_objects(dataset_manifest), *_sets(spec, dataset_manifest)],
        "recordSet": [record_set] if record_set else [],
    }


def _objects(dataset_manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{part['bytes']} B",
            "encodingFormat": _MEDIA.get(name.rpartition(".")[2], "application/octet-stream"),
            "sha256": part["sha256"],
        }
        for name, part in dataset_manifest["files"].items()
        if not name.endswith("/")
    ]


def _sets(spec: ExportSpec, dataset_manifest: dict[str, Any]) -> list[dict[str, Any]]:
    def file_set(name: str, pattern: str, media: str, inside: list[str]) -> dict[str, Any]:
        contained = {"containedIn": [{"@id": one} for one in inside]} if inside else {}
        return {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "includes": pattern,
            "encodingFormat": media,
            **contained,
        }

    media = _MEDIA[spec.image_format or "png"]
    if spec.format == "imagefolder":
        return [
            file_set("images", f"{spec.split}/**/*.{spec.image_format}", media, []),
            file_set("metadata", f"{spec.split}/**/metadata.jsonl", "application/jsonlines", []),
        ]
    if spec.format == "webdataset":
        return [file_set("images", f"*.{spec.image_format}", media, list(dataset_manifest["files"]))]
    if spec.format == "parquet":
        return [file_set("shards", f"data/{spec.split}-*.parquet", _MEDIA["parquet"], [])]
    return []


def _record_set(spec: ExportSpec, model: Manifest) -> dict[str, Any] | None:
    """What one record is, where Croissant has words for the format."""

    def field(name: str, kind: str, source: str, extract: dict[str, Any], **more: Any) -> dict[str, Any]:
        origin = {"fileSet": {"@id": source}, "extract": extract, **more}
        return {"@type": "cr:Field", "@id": f"records/{name}", "name": name, "dataType": kind, "source": origin}

    picture = field("image", "sc:ImageObject", "images", {"fileProperty": "content"})
    if spec.format == "parquet":
        image = field("image", "sc:ImageObject", "shards", {"column": "image"}, transform={"jsonPath": "bytes"})
        kinds = {"label": "sc:Integer", "label_name": "sc:Text", "address": "sc:Text"}
        assert kinds.keys() < parquet_features(model).keys()
        fields = [image, *(field(name, kind, "shards", {"column": name}) for name, kind in kinds.items())]
    elif spec.format in ("imagefolder", "webdataset"):
        fields = [picture, field("file", "sc:Text", "images", {"fileProperty": "filename"})]
    else:
        return None
    return {"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}


# The context that the specification gives, appendix 1.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
