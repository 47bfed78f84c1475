"""Which grammar reads which suffix, and how its syntax trees name what people define.

The names of node types are those of all grammars together: where two grammars share a name, it means the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import tree_sitter


@dataclass(frozen=True, slots=True)
class Grammar:
    """A package with a grammar, and the function in it that hands the grammar out."""

    module: str
    function: str = "language"

    def load(self) -> tree_sitter.Language:
        """Import the package."""
        return tree_sitter.Language(getattr(import_module(self.module), self.function)())


_TYPESCRIPT = Grammar("tree_sitter_typescript", "language_typescript")
_BY_GRAMMAR = {
    Grammar("tree_sitter_python"): (".py", ".pyi"),
    Grammar("tree_sitter_javascript"): (".js", ".mjs", ".cjs", ".jsx"),
    _TYPESCRIPT: (".ts", ".mts", ".cts"),
    Grammar("tree_sitter_typescript", "language_tsx"): (".tsx",),
    Grammar("tree_sitter_java"): (".java",),
    Grammar("tree_sitter_kotlin"): (".kt", ".kts"),
    Grammar("tree_sitter_scala"): (".scala",),
    Grammar("tree_sitter_swift"): (".swift",),
    Grammar("tree_sitter_c"): (".c",),
    Grammar("tree_sitter_cpp"): (".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh"),  # nearly all of C is C++ as well
    Grammar("tree_sitter_c_sharp"): (".cs",),
    Grammar("tree_sitter_go"): (".go",),
    Grammar("tree_sitter_rust"): (".rs",),
    Grammar("tree_sitter_ruby"): (".rb",),
    Grammar("tree_sitter_php", "language_php"): (".php",),
    Grammar("tree_sitter_bash"): (".sh", ".bash"),
}
GRAMMARS = {suffix: grammar for grammar, suffixes in _BY_GRAMMAR.items() for suffix in suffixes}

# What holds definitions of its own: cut into its members where it is long.
CONTAINERS = frozenset(
    {
        "abstract_class_declaration", "class", "class_declaration", "class_definition", "class_specifier",
        "companion_object", "enum_declaration", "enum_definition", "enum_item", "enum_specifier",
        "extension_definition", "given_definition", "impl_item", "interface_declaration", "internal_module", "mod_item",
        "module", "namespace_declaration", "namespace_definition", "object_declaration", "object_definition",
        "package_object", "protocol_declaration", "record_declaration", "struct_declaration", "struct_item",
        "struct_specifier", "trait_declaration", "trait_definition", "trait_item", "union_specifier",
    }
)  # fmt: skip

# What is one piece however long it is.
FUNCTIONS = frozenset(
    {
        "annotation_type_declaration", "compact_constructor_declaration", "constructor_declaration",
        "conversion_operator_declaration", "deinit_declaration", "delegate_declaration", "destructor_declaration",
        "function_declaration", "function_definition", "function_item", "generator_function_declaration",
        "init_declaration", "macro_definition", "method", "method_declaration", "method_definition",
        "operator_declaration", "secondary_constructor", "singleton_method", "subscript_declaration",
        "type_alias_declaration", "type_definition", "type_spec",
    }
)  # fmt: skip

# `const f = () => ...` and `exports.f = function ...` define a function where the value is one.
ASSIGNMENTS = {"variable_declarator": ("name", "value"), "assignment_expression": ("left", "right")}
FUNCTION_VALUES = frozenset({"arrow_function", "class", "function_expression", "generator_function"})

# What stands around a definition and belongs to it.
WRAPPERS = frozenset(
    {
        "ambient_declaration", "argument_list", "call", "decorated_definition", "export_statement",
        "expression_statement", "lexical_declaration", "template_declaration", "type_declaration",
        "variable_declaration",
    }
)  # fmt: skip

# What stands between a container, or the file, and the definitions in it.
SECTIONS = frozenset(
    {
        "ERROR", "block", "body_statement", "class_body", "declaration_list", "enum_body", "enum_body_declarations",
        "enum_class_body", "enum_declaration_list", "field_declaration_list", "interface_body",
        "linkage_specification", "preproc_elif", "preproc_else", "preproc_if", "preproc_ifdef", "protocol_body",
        "singleton_class", "statement_block", "template_body",
    }
)  # fmt: skip

# What stands before a definition, beside it in the tree.
ATTACHED = frozenset({"attribute_item", "decorator"})
