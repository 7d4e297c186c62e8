"""Kubernetes' built-in types in a compact notation, one module per part; `schema.parse_types` reads it.

    TypeName: what it is
      field! type option... | what the field means

`!` marks a required field. Types: `string int bool number any object quantity intstr time bytes`, `[T]` a list, `{T}` a
map, a type's name. Options: `key=a,b` a list of objects identified by those fields, `set` a list of distinct values,
`atomic` replaced whole by apply, `retain` a union whose other members a strategic patch clears, `=x` the default,
`(A|B)` the allowed values, `>=n` the least number, `@n` the field's number in Kubernetes' protobuf encoding (`@2.19`:
field 19 of the message inlined as field 2).
"""

from isthmus_lab.apiserver.types import apps, config, core, meta, pods, policy

SOURCES = (meta.TYPES, pods.TYPES, core.TYPES, apps.TYPES, policy.TYPES, config.TYPES)
