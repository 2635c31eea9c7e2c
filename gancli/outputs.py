"""Where results go: names made from data, and a folder that nothing is written outside of.

The names of classes, domains, labels, images and entries of archives come from strangers. A name that is safe stays as
it is. Any other one is cleaned and marked with a digest of the original, so that two names never become one.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gancli import files
from gancli.errors import UserError

LONGEST = 255
"""Bytes that a file system takes for one part of a path."""
LONGEST_PATH = 2048
"""Bytes of a whole relative path: systems take 4,096, the user's own folder included."""

_ENDING = 16
"""Bytes of an ending that survives when a name is cut."""
_MARK = re.compile(r"~[0-9a-f]{12}$")
# Control characters, line separators, marks that reverse the direction of writing, and Windows' separator.
_NOWHERE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\\\\/]")
# What Windows takes in no name, and halves of characters.
_IN_NO_LABEL = re.compile('[<>:"|?*\ud800-\udfff]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)


def label(text: str) -> str:
    """The name of a folder for a class, a domain or a label, one part of a path that every system takes."""
    clean = _IN_NO_LABEL.sub("_", _NOWHERE.sub("_", text)).rstrip(". ")
    return _marked(clean, text, changed=clean != text or _DEVICE.fullmatch(text) is not None)


def labels(texts: Sequence[str]) -> list[str]:
    """The name of a folder for each class, no two alike, even where two classes have one name."""
    made: dict[str, None] = {}
    for place, text in enumerate(texts):
        name = label(text)
        made[_marked(name, f"{place}\0{text}", changed=True) if name in made else name] = None
    return list(made)


def path(name: str) -> str:
    """The relative path of a result, with slashes, from the name of an image or of an entry of an archive.

    Each part is as the name has it where this system can write that, spaces, colons and letters of any script included.
    """
    *folders, last = (_part(part) for part in name.split("/"))
    if len(os.fsencode("/".join([*folders, last]))) > LONGEST_PATH:
        folders = [_marked("_", "/".join(folders), changed=True)]
    return "/".join([*folders, last])


def _part(text: str) -> str:
    clean = _NOWHERE.sub("_", text)
    try:
        # A byte that is no UTF-8 stands in Python's names as half a character; two of them could be a whole one.
        changed = clean != text or os.fsdecode(os.fsencode(text)) != text
    except UnicodeEncodeError:
        changed = True
    if changed:
        clean = _IN_NO_LABEL.sub("_", clean)
    return _marked(clean, text, changed=changed)


def _marked(clean: str, text: str, *, changed: bool) -> str:
    """A clean name as it is if that says all, or else cut to the length that it may have and marked with a digest."""
    if clean.strip(".") == "":  # nothing, this folder, or the one above it
        clean, changed = "_", True
    stem, dot, ending = clean.rpartition(".")
    if not stem or len(os.fsencode(dot + ending)) > _ENDING:
        stem, dot, ending = clean, "", ""
    if not changed and len(os.fsencode(clean)) <= LONGEST and not _MARK.search(stem):
        return clean
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()
    mark = f"~{digest}{dot}{ending}"
    cut = os.fsencode(stem)[: LONGEST - len(os.fsencode(mark))].decode(errors="ignore")
    return f"{cut}{mark}"


def check_distinct(made: Iterable[tuple[str, str]]) -> None:
    """Refuse results of which one would replace another.

    Args:
        made: what each is made from, and its relative path.

    Raises:
        UserError: two have one path, or one is a folder of another; both are named.
    """
    origins: dict[str, str] = {}
    for origin, name in made:
        if name in origins:
            raise UserError(
                f"{origins[name]!r} and {origin!r} would both become {name!r}: rename one, or translate them apart"
            )
        origins[name] = origin
    for name, origin in origins.items():
        for above in Path(name).parents:
            if (other := origins.get(str(above))) is not None:
                raise UserError(f"{other!r} becomes {str(above)!r}, which is a folder for {origin!r}: rename one")


def check_free(path: Path, *, force: bool) -> None:
    """Refuse a place for one file where something stands already, a link to nothing included.

    Raises:
        UserError: something does, and `force` does not allow to replace it, or it is no file.
    """
    found = _look(path)
    if found is not None and (stat.S_ISDIR(found.st_mode) or not force):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "exists already: --force replaces it"
        raise UserError(f"{path}: {what}; --out OTHER writes elsewhere")


class Place:
    """A folder for results. Nothing is written outside it, nor through links that stand in it.

    Args:
        root: which may itself be a link, and need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = {""}

    def check(self, names: Iterable[str], *, force: bool) -> None:
        """Refuse what cannot be written, before any work; the names are looked at only if the folder holds something.

        Args:
            names: relative, as `path` and `label` make them.
            force: whether files may be replaced.

        Raises:
            UserError: something stands there already, or a link or a file stands where a folder is needed.
        """
        # What stands in the way of the folder itself.
        there = next((folder for folder in (self.root, *self.root.parents) if os.path.lexists(folder)), None)
        if there is not None and not there.is_dir():
            raise UserError(f"{there}: is no folder: --out OTHER writes elsewhere")
        if there != self.root:
            return
        known: dict[str, bool] = {"": any(self.root.iterdir())}
        for name in names:
            if self._stands(name.rpartition("/")[0], known):
                check_free(self.root / name, force=force)

    def _stands(self, folder: str, known: dict[str, bool]) -> bool:
        """Whether a folder below the root exists; refuse a link or a file in its place."""
        if folder not in known:
            above = self._stands(folder.rpartition("/")[0], known)
            found = _look(self.root / folder) if above else None
            if found is not None and not stat.S_ISDIR(found.st_mode):
                raise self._barred(folder)
            known[folder] = found is not None
        return known[folder]

    def save(self, name: str, content: bytes | Callable[[IO[Any]], object]) -> Path:
        """Write one file, whole or not at all, making the folders that it needs.

        Args:
            name: relative, as `path` and `label` make it.
            content: the bytes, or what writes them.

        Raises:
            UserError: a link or a file stands where a folder is needed.
            OSError: the disk does not take it.
        """
        self._make(name.rpartition("/")[0])
        with files.writing(self.root / name, durable=False) as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
        return self.root / name

    def _make(self, folder: str) -> None:
        if folder in self._folders:
            if not folder:
                self.root.mkdir(parents=True, exist_ok=True)
            return
        self._make(folder.rpartition("/")[0])
        here = self.root / folder
        with suppress(FileExistsError):
            here.mkdir()
        if not stat.S_ISDIR(here.lstat().st_mode):
            raise self._barred(folder)
        self._folders.add(folder)

    def _barred(self, folder: str) -> UserError:
        here = self.root / folder
        what = "a link" if here.is_symlink() else "no folder"
        return UserError(f"{here}: is {what}, and nothing is written through it: remove it, or give another --out")


def _look(path: Path) -> os.stat_result | None:
    """What stands at a place, links not followed; nothing where it cannot exist."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
