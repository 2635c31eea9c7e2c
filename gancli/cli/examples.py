"""An example or two of every command, which its help shows."""

EXAMPLES = {
    "gancli": ("gancli train gan-digits", "gancli sample runs/gan-digits", "gancli evaluate runs/gan-digits"),
    "train": (
        "gancli train gan-digits",
        "gancli train dcgan-folder --set data.source=photos/ --out runs/photos",
        "gancli train --resume runs/photos",
    ),
    "init": ("gancli init photos/ > my.yaml",),
    "sample": (
        "gancli sample runs/gan-digits --count 64 --grid --out digits.png",
        "gancli sample runs/cyclegan-shapes --input photos/ --out translated/",
    ),
    "evaluate": (
        "gancli evaluate runs/gan-digits --metrics fid,kid,prdc",
        "gancli evaluate generated/ --against photos/ --features inception",
    ),
    "eval-fid": ("gancli eval-fid runs/gan-digits --count 5000", "gancli eval-fid generated/ --against photos/ --json"),
    "fit-features": ("gancli fit-features photos/ --out features.safetensors",),
    "check": (
        "gancli data check photos/ --preview sheet.png",
        "gancli data check pairs/ --kind pairs --set layout=folders",
    ),
    "clear": ("gancli data clear",),
    "fetch": ("gancli fetch mnist",),
    "recipes": ("gancli recipes", "gancli recipes gan-digits > my.yaml"),
    "validate": ("gancli validate my.yaml",),
    "schema": ("gancli schema > schema.json",),
    "doctor": ("gancli doctor",),
}


def epilogue(command: str | None) -> str | None:
    """The examples of a command as the end of its help; None for a command without any."""
    found = EXAMPLES.get(command or "", ())
    # The backspace tells Typer to keep the lines as they are.
    return "\n".join(["\b", "Examples:" if len(found) > 1 else "Example:", *found]) if found else None
