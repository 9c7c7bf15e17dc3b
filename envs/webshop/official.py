"""The official files of WebShop: their names, sizes, digests and where the authors keep them.

Addresses are those of ``setup.sh`` in the authors' repository (princeton-nlp/WebShop, MIT licence).
"""

from __future__ import annotations

from dataclasses import dataclass

_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """One file as the authors publish it.

    Attributes:
        name: file name.
        size: length in bytes.
        sha256: digest of the content; ``None`` where it is not known.
        drive_id: its id at Google Drive.
    """

    name: str
    size: int
    sha256: str | None
    drive_id: str

    @property
    def url(self) -> str:
        """Address to download it from."""
        return _DRIVE + self.drive_id

    def is_official(self, size: int, sha256: str) -> bool:
        """Return whether a file with this length and digest is the official one, as far as that is known."""
        return size == self.size if self.sha256 is None else sha256 == self.sha256


_HUMAN = OfficialFile(
    "items_human_ins.json",
    5_137_548,
    "cf78667548a71786e1d9049c24b802e48e1084ad4bb021cae56ce1f6d96954a3",
    "14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O",
)


@dataclass(frozen=True, slots=True)
class OfficialFiles:
    """The three files of a catalogue."""

    items: OfficialFile
    attributes: OfficialFile
    human: OfficialFile = _HUMAN


OFFICIAL: dict[str, OfficialFiles] = {
    "1000": OfficialFiles(
        OfficialFile(
            "items_shuffle_1000.json",
            4_467_013,
            "30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269",
            "1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
        ),
        OfficialFile(
            "items_ins_v2_1000.json",
            147_099,
            "f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f",
            "1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
        ),
    ),
    "full": OfficialFiles(
        OfficialFile("items_shuffle.json", 5_479_720_229, None, "1A2whVgOO0euk5O13n2iYDM0bQRkkRduB"),
        OfficialFile("items_ins_v2.json", 186_295_270, None, "1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi"),
    ),
}
