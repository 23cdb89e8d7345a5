"""The face of a finished export: the data set card and the Croissant metadata.

Knows: the words of README.md with the front matter that the Hugging Face hub reads, and the JSON-LD of
Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). Pure. Does not know: files.
"""

from __future__ import annotations

import json
from typing import Any

from models.manifest import Manifest
from service.export.formats import parquet_features
from service.export.plan import ExportSpec, Format
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
    "idx": 'gzip.open("FOLDER/{split}-images-idx3-ubyte.gz")  # or any loader of MNIST',
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


def title(job: ExportSpec) -> str:
    """A name for the data set."""
    return f"{job.model}-{job.version}-seed{job.seed}"


def description(job: ExportSpec, model: Manifest) -> str:
    """One sentence."""
    shape = model.image
    colour = "RGB" if shape.channels == 3 else "grey"
    return (
        f"{job.count} synthetic images ({shape.width}x{shape.height}, {colour}) minted by the generator "
        f"{model.name} {model.version} from seed {job.seed}. No image shows something real."
    )


def readme(job: ExportSpec, model: Manifest, manifest: dict[str, Any]) -> str:
    """README.md: a Hugging Face data set card."""
    front = "\n".join(f"{name}: {json.dumps(value)}" for name, value in _front_matter(job, model).items())
    last = f"{len(manifest['shards']) - 1:05d}"
    split = "t10k" if job.format == "idx" and job.split == "test" else job.split
    labels = "\n".join(f"| {row['label']} | {row['name']} | {row['images']} |" for row in manifest["labels"])
    classes = f"\n| label | class | images |\n| --- | --- | --- |\n{labels}\n" if labels else ""
    marked = (
        "Every file says in its XMP that it is synthetic (IPTC DigitalSourceType `trainedAlgorithmicMedia`)\n"
        "and carries the address that mints it again."
        if job.image_format
        else f"The format has no place for marks in an image. Image k is minted by index {job.index} + k of the job."
    )
    data = model.training.data
    use = f"\n## Use\n\n{data.use}\n" if data.use else ""
    return f"""---
{front}
---

# {title(job)}

{description(job, model)}

| | |
| --- | --- |
| images | {job.count} in {format_count(len(manifest["shards"]), "shard")}, {format_size(manifest["bytes"])} |
| format | {job.format}{f", {job.image_format}" if job.image_format else ""} |
| labels | {_labels_text(job, model)} |
| psi | {job.psi:g} |
| model | {model.name} {model.version}, {model.description} |
| model digest | `{job.model_digest}` |
| licence of the weights | {model.licence} |
| trained on | {data.name}, {data.licence}. {data.attribution} |
{classes}{use}
## Read it

```python
{_READ[job.format].format(split=split, last=last)}
```

## Where it comes from

{marked} Same address, same bytes: `ganmint dataset verify`
mints images again and compares; `manifest.json` has the digest of every file. Made by
{" and then ".join(f"`{command}`" for command in _commands(job))}.
"""


def _front_matter(job: ExportSpec, model: Manifest) -> dict[str, Any]:
    task = "image-classification" if model.class_names else "unconditional-image-generation"
    front: dict[str, Any] = {
        "pretty_name": title(job),
        "license": "other",
        "license_name": model.licence,
        "tags": ["synthetic", "ganmint"],
        "task_categories": [task],
        "size_categories": [next((name for name, below in _SIZES if job.count < below), "n>10M")],
    }
    if pattern := _HUB_FILES.get(job.format):
        files = {"split": job.split, "path": pattern.format(split=job.split)}
        front["configs"] = [{"config_name": "default", "data_files": [files]}]
    return front


def _labels_text(job: ExportSpec, model: Manifest) -> str:
    if not model.class_names:
        return "none"
    if job.labels is None:
        return "drawn from the seed"
    return "balanced: index modulo the number of classes" if job.labels == "balanced" else f"all {job.labels}"


def _commands(job: ExportSpec) -> list[str]:
    """One for each time that the export was extended within a shard, which cut the shard."""
    return [_command(job, count) for count in job.counts]


def _command(job: ExportSpec, count: int) -> str:
    parts = [f"ganmint export {job.model}/{job.version} --count {count} --seed {job.seed} --format {job.format}"]
    parts += [f"--index {job.index}"] if job.index else []
    parts += [f"--labels {job.labels}"] if job.labels is not None else []
    parts += [f"--psi {job.psi:g}"] if job.psi != 1 else []
    parts += [f"--image-format {job.image_format}"] if job.image_format not in (None, "png") else []
    parts += [f"--split {job.split}"] if job.split != "train" else []
    return " ".join([*parts, f"--shard-size {job.shard_size} --out URL"])


def croissant(job: ExportSpec, model: Manifest, manifest: dict[str, Any]) -> dict[str, Any]:
    """croissant.json as JSON-LD."""
    data = model.training.data
    record_set = _record_set(job, model)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title(job).replace(".", "-"),
        "description": description(job, model),
        "license": model.licence,
        "version": model.version,
        "keywords": ["synthetic"],
        "citeAs": data.attribution or "none asked for",
        "isLiveDataset": False,
        "distribution": [*_objects(manifest), *_sets(job, manifest)],
        "recordSet": [record_set] if record_set else [],
    }


def _objects(manifest: dict[str, Any]) -> list[dict[str, Any]]:
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
        for name, part in manifest["files"].items()
        if not name.endswith("/")
    ]


def _sets(job: ExportSpec, manifest: dict[str, Any]) -> list[dict[str, Any]]:
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

    media = _MEDIA[job.image_format or "png"]
    if job.format == "imagefolder":
        return [
            file_set("images", f"{job.split}/**/*.{job.image_format}", media, []),
            file_set("metadata", f"{job.split}/**/metadata.jsonl", "application/jsonlines", []),
        ]
    if job.format == "webdataset":
        return [file_set("images", f"*.{job.image_format}", media, list(manifest["files"]))]
    if job.format == "parquet":
        return [file_set("shards", f"data/{job.split}-*.parquet", _MEDIA["parquet"], [])]
    return []


def _record_set(job: ExportSpec, model: Manifest) -> dict[str, Any] | None:
    """What one record is, where Croissant has words for the format."""

    def field(name: str, kind: str, source: str, extract: dict[str, Any], **more: Any) -> dict[str, Any]:
        origin = {"fileSet": {"@id": source}, "extract": extract, **more}
        return {"@type": "cr:Field", "@id": f"records/{name}", "name": name, "dataType": kind, "source": origin}

    picture = field("image", "sc:ImageObject", "images", {"fileProperty": "content"})
    if job.format == "parquet":
        image = field("image", "sc:ImageObject", "shards", {"column": "image"}, transform={"jsonPath": "bytes"})
        kinds = {"label": "sc:Integer", "label_name": "sc:Text", "address": "sc:Text"}
        assert kinds.keys() < parquet_features(model).keys()
        fields = [image, *(field(name, kind, "shards", {"column": name}) for name, kind in kinds.items())]
    elif job.format in ("imagefolder", "webdataset"):
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
