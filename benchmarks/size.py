"""How large the house is: python benchmarks/size.py

Lines of code are lines that hold a token other than a comment or a docstring.
"""

import ast
import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "gancli"
LONG_FILE, LONG_FUNCTION = 400, 60
KINDS = ("FromNoise", "FromImages", "Styled", "Distribution", "Domains", "Pairs", "Unpaired")
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def docstrings(tree: ast.Module) -> set[int]:
    """The lines of a file's docstrings, those of fields included."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return {line for node in found if isinstance(node.value.value, str) for line in span(node)}


def span(node: ast.expr | ast.stmt) -> range:
    """The lines of a piece of code."""
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def code_lines(text: str, tree: ast.Module) -> int:
    """How many lines hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for t in tokens if t.type not in NO_CODE for line in range(t.start[0], t.end[0] + 1)}
    return len(lines - docstrings(tree))


def kind_tests(tree: ast.Module) -> list[ast.Call]:
    """The places that ask for the class of a model, a recipe or its data."""
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
    ]
    return [call for call in calls if any(kind in ast.unparse(call.args[1]) for kind in KINDS)]


def main() -> None:
    """Print the figures."""
    code = total = kinds = 0
    long: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text, name = path.read_text(), path.relative_to(PACKAGE)
        tree = ast.parse(text)
        length = text.count("\n")
        total, code, kinds = total + length, code + code_lines(text, tree), kinds + len(kind_tests(tree))
        long += [f"file {name}: {length} lines"] if length > LONG_FILE else []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(span(node)) > LONG_FUNCTION:
                long.append(f"function {name}:{node.lineno} {node.name}: {len(span(node))} lines")
    for what, count in {"lines of code": code, "all lines": total, "tests of kinds by isinstance": kinds}.items():
        print(f"{what:<30} {count:,}")
    print(f"files over {LONG_FILE} lines, functions over {LONG_FUNCTION}: {len(long)}", *long, sep="\n  ")
    for path in sorted(PACKAGE.glob("models/*/model.py")):
        print(f"models/{path.parent.name}/model.py: {path.read_text().count(chr(10))} lines")


if __name__ == "__main__":
    main()
