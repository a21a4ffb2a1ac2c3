"""Which class a file of a Debian package belongs to, decided by its path and a few checks of its
content.
"""

import re

# Index in this list = index of the model's output. The names are what users see.
LABELS = [
    "C", "C++", "CMake", "CSS", "CSV", "ELF binary", "Go", "HTML", "Java", "JavaScript", "JSON",
    "LaTeX", "Lua", "Makefile", "Markdown", "PHP", "PNG image", "Perl", "Python", "Ruby", "Rust",
    "SQL", "SVG", "XML", "YAML", "changelog", "diff", "English text", "gettext catalogue",
    "gzip data", "licence", "man page (English)", "man page (French)", "man page (German)",
    "man page (Japanese)", "man page (Russian)", "man page (Spanish)", "reStructuredText", "shell",
]  # fmt: skip
BINARY = {"ELF binary", "PNG image", "gzip data"}

_BY_EXTENSION = {
    "C": "c", "C++": "cc cpp cxx hpp hh hxx", "CMake": "cmake", "CSS": "css", "CSV": "csv",
    "Go": "go", "HTML": "html htm xhtml", "Java": "java", "JavaScript": "js mjs cjs",
    "JSON": "json", "LaTeX": "tex sty cls ltx dtx", "Lua": "lua nse", "Makefile": "mk mak",
    "Markdown": "md markdown", "PHP": "php inc", "PNG image": "png", "Perl": "pl pm t",
    "Python": "py", "Ruby": "rb gemspec rake", "Rust": "rs", "SQL": "sql", "SVG": "svg",
    "XML": "xml xsl xslt xsd gir rng docbook dbk ui qrc page", "YAML": "yml yaml",
    "diff": "patch diff", "gettext catalogue": "po pot", "reStructuredText": "rst",
    "shell": "sh bash",
}  # fmt: skip
_EXTENSION = {
    extension: label for label, all_of in _BY_EXTENSION.items() for extension in all_of.split()
}

# What must be found in the first 4 KiB. Extensions lie: .pl is Prolog too, .inc anything, .ts XML.
_MUST_MATCH = {
    "C": rb"[;{#]",
    "CMake": rb"\w\s*\(",
    "CSS": rb"\{",
    "CSV": rb"^[^\n]*[,;\t|][^\n]*\n[^\n]*[,;\t|]",
    "Go": rb"(?m)^package \w",
    "HTML": rb"(?i)<(!doctype html|html|head|body|div|table|p)\b",
    "Java": rb"\b(class|interface|package|import|enum)\b",
    "JSON": rb"^\s*[\[{]",
    "LaTeX": rb"\\[a-zA-Z]+",
    "Makefile": rb"(?m)^[^#\n]*[:=]",
    "PHP": rb"^(#![^\n]*\n)?\s*<\?php",
    "PNG image": rb"^\x89PNG\r\n",
    "Perl": rb"\b(use|my|sub|package|our)\b",
    "SQL": rb"(?i)\b(select|insert|create|alter|drop|update|delete|grant|do)\b",
    "SVG": rb"<svg\b|<!DOCTYPE svg",
    "XML": rb"^(\xef\xbb\xbf)?\s*<[?!a-zA-Z]",
    "YAML": rb"(?m)^\s*(- |[^\s#][^\n]*:(\s|$))",
    "diff": rb"(?m)^(@@ |\*\*\* |--- )",
    "gettext catalogue": rb"(?m)^msgid ",
}
_SHEBANG = {
    "Perl": rb"perl", "Python": rb"python", "Ruby": rb"ruby", "Lua": rb"lua", "PHP": rb"php",
    "shell": rb"\b(sh|bash|dash|ksh|zsh)\b", "JavaScript": rb"\bnode(js)?\b",
}  # fmt: skip

_MAN_LANGUAGE = {
    "": "English",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "ja": "Japanese",
    "ru": "Russian",
}
_MAN_PATH = re.compile(r"usr/share/man/(?:([a-z]{2})(?:\.UTF-8)?/)?man[1-9n]/[^/]+")
_COMMON_WORDS = {
    "English": "the of is to and that be are",
    "German": "der die und ist wird nicht eine das",
    "French": "le les est une pour dans des du",
    "Spanish": "el los que una para con del se",
}
_SCRIPT = {"Japanese": r"[\u3040-\u30ff]", "Russian": r"[\u0430-\u044f]"}
_DOC_TEXT = re.compile(
    r"(readme|install|todo|faq|thanks|hacking|notes?|bugs|howto|tutorial|manual|guide|intro)\b",
    re.I,
)
_CHANGES = re.compile(r"^(changelog|changes|news)\b", re.I)
_LICENCE = re.compile(r"^(copyright|licen[cs]e|copying)(\.txt|\.lgpl|\.gpl|-.*)?$", re.I)
_CPP_IN_HEADER = re.compile(
    rb"(?m)^\s*(class\s+\w+|namespace\s+\w+|template\s*<|public:|private:|using\s+\w+)|\bstd::|^#\s*include\s*<[a-z_]+>"
)


def is_header(path: str) -> bool:
    """C or C++: the package as a whole has to tell (label_headers)."""
    return path.endswith(".h")


def label_headers(headers: list[bytes], has_cpp_sources: bool) -> list[str | None]:
    """C++ where it shows; C in a package where none shows at all; else unknown."""
    cpp = [bool(_CPP_IN_HEADER.search(data)) for data in headers]
    plain = None if has_cpp_sources or any(cpp) else "C"
    return ["C++" if is_cpp else plain for is_cpp in cpp]


def label_of(path: str, data: bytes) -> str | None:
    """The class of a file (content decompressed, path without .gz), or None when it is in no class
    or in doubt.
    """
    head = data[:4096]
    name = path.rsplit("/", 1)[-1]
    if head.startswith(b"\x7fELF"):
        return None if name.endswith(".o") else "ELF binary"
    if head.startswith(b"\x1f\x8b"):
        return "gzip data"
    label = _by_name(path, name, head)
    if label is None or label in BINARY:
        return label if label == "PNG image" and re.match(_MUST_MATCH[label], head) else None
    if b"\0" in head:
        return None
    if label in _MUST_MATCH and not re.search(_MUST_MATCH[label], head):
        return None
    if label.startswith("man page"):
        return label if _is_man_page(data, label[10:-1]) else None
    if label in ("English text", "changelog"):
        # Upstream files of these names are often in a markup language.
        if head.lstrip()[:1] in (b"<", b"#") or re.search(
            rb"(?m)^(#+ |\.\. \w|\.S[HS] |```)", head
        ):
            return None
        return (
            label
            if label == "changelog" or _language_score(_text(data), "English") > 0.08
            else None
        )
    if label == "YAML" and head.lstrip().startswith((b"{", b"<")):
        return None
    if label == "JavaScript" and re.match(rb"\s*[\[{<]", head):
        return None
    return label


def _by_name(path: str, name: str, head: bytes) -> str | None:
    man = _MAN_PATH.fullmatch(path)
    if man:
        language = _MAN_LANGUAGE.get(man[1] or "")
        return f"man page ({language})" if language else None
    if "/man/" in path and "share" in path:
        return None
    if _LICENCE.match(name) or "usr/share/common-licenses/" in path:
        return "licence"
    if name == "CMakeLists.txt":
        return "CMake"
    if re.fullmatch(r"(GNUm|M|m)akefile(\.(am|inc|common|unix|linux|gcc))?|Kbuild", name):
        return "Makefile"
    if name.endswith(".rst.txt"):
        return "reStructuredText"
    in_doc = "usr/share/doc/" in path or "usr/src/" in path
    if in_doc and _CHANGES.match(name) and not name.lower().endswith((".md", ".rst", ".html")):
        return "changelog"
    stem, dot, extension = name.rpartition(".")
    if dot and stem and extension in _EXTENSION:
        return _EXTENSION[extension]
    if in_doc and (
        extension == "txt" or (not dot and _DOC_TEXT.match(name)) or name == "README.Debian"
    ):
        return "English text"
    if "bash-completion/completions/" in path or path.startswith("etc/init.d/"):
        return "shell"
    if head.startswith(b"#!"):
        line = head.split(b"\n", 1)[0]
        return next(
            (label for label, pattern in _SHEBANG.items() if re.search(pattern, line)), None
        )
    return None


def _text(data: bytes) -> str:
    return data[:16384].decode("utf-8", "replace")


def _language_score(text: str, language: str) -> float:
    words = re.findall(r"\w+", text.lower())
    common = set(_COMMON_WORDS[language].split())
    return sum(word in common for word in words) / max(1, len(words))


def _is_man_page(data: bytes, language: str) -> bool:
    """Rejects one-line redirections and pages of which little is translated."""
    text = _text(data)
    if len(text) < 300 or not re.search(r"(?m)^\.\s*(TH|Dt|SH|Sh)\b", text):
        return False
    if language in _SCRIPT:
        return len(re.findall(_SCRIPT[language], text)) > len(text) / 10
    own = _language_score(text, language)
    return own > 0.02 and all(own >= _language_score(text, other) for other in _COMMON_WORDS)
