{{/*
Whether the container's limit of memory is below what the bounds in `config` take even if every
command is short: then the first long backlog ends the container, again and again. What to have
instead is more; see Memory in the README. All figures are of the project's README.
*/}}
{{- define "zerotouch-worker.v1.check.memory" -}}
{{- $written := toString (default "" (default (dict) (default (dict) .values.resources).limits).memory) -}}
{{- if $written -}}
{{- $limit := include "zerotouch-worker.v1.quantity" $written | int64 -}}
{{- $bounds := dict -}}
{{- range $section, $defaults := dict
      "batch" (dict "items_max" 1000) "guard" (dict "memory_max" 100000)
      "kafka" (dict "fetch_memory" "4MiB") "api" (dict "response_memory" "64MiB")
      "limits" (dict "commands_max" 100000 "command_memory" "64MiB") -}}
  {{- range $key, $default := $defaults -}}
    {{- $variable := printf "ZEROTOUCH__%s__%s" $section $key | upper -}}
    {{- $given := default (dict) (get $.values.config $section) -}}
    {{- $value := hasKey $given $key | ternary (get $given $key) $default -}}
    {{- if include "zerotouch-worker.v1.fromElsewhere" (dict "values" $.values "name" $variable) -}}
      {{- /* Not known here. */ -}}
      {{- $value = kindIs "string" $default | ternary "0B" 0 -}}
    {{- end -}}
    {{- $bytes := 0 -}}
    {{- if kindIs "string" $default -}}
      {{- $bytes = include "zerotouch-worker.v1.bytes" $value | int64 -}}
      {{- if lt $bytes 0 }}
- {{ printf "`config.%s.%s` is %q: write a whole number and B, kB, KiB, MB, MiB, GB or GiB, such as %s" $section $key $value $default | quote }}
      {{- end -}}
    {{- end -}}
    {{- $_ := set $bounds $key (dict "given" (hasKey $given $key) "shown" (kindIs "string" $value | ternary $value (int64 $value | toString)) "figure" (kindIs "string" $default | ternary $bytes (int64 $value))) -}}
  {{- end -}}
{{- end -}}
{{- $commands := $bounds.commands_max.figure -}}
{{- $shares := list
      (dict "bytes" 16777216 "of" "the program")
      (dict "bytes" (min (mul $commands 270) (add (mul $commands 130) $bounds.command_memory.figure))
        "of" (printf "`limits.commands_max` (%s)" $bounds.commands_max.shown))
      (dict "bytes" (mul 2 $bounds.fetch_memory.figure)
        "of" (printf "two times `kafka.fetch_memory` (%s)" $bounds.fetch_memory.shown))
      (dict "bytes" (mul 64 $bounds.memory_max.figure)
        "of" (printf "`guard.memory_max` (%s)" $bounds.memory_max.shown))
      (dict "bytes" (mul 2500 $bounds.items_max.figure)
        "of" (printf "one reply about `batch.items_max` (%s) devices" $bounds.items_max.shown)) -}}
{{- $sum := 0 -}}
{{- $words := list -}}
{{- range $share := $shares -}}
  {{- $mebibytes := div (add $share.bytes 1048575) 1048576 -}}
  {{- $sum = add $sum $mebibytes -}}
  {{- if gt $mebibytes 0 -}}
    {{- $words = append $words (printf "%d for %s" $mebibytes $share.of) -}}
  {{- end -}}
{{- end -}}
{{- if lt $limit 0 }}
- {{ printf "`resources.limits.memory` is %q: write a quantity of Kubernetes, such as 256Mi" $written | quote }}
{{- else if lt $limit (mul $sum 1048576) }}
- {{ printf "`resources.limits.memory` is %s, but the bounds in `config` take at least %d MiB: %s; raise the limit to what Memory in the chart's README says, or lower the largest of these" $written $sum (join ", " $words) | quote }}
{{- else if and $bounds.response_memory.given (gt $bounds.response_memory.figure $limit) }}
- {{ printf "`config.api.response_memory` is %s, but `resources.limits.memory` is %s: a reply too large would end the container before it counts as broken; lower the first (it needs 1000 bytes for each device of `batch.items_max`), or raise the limit" $bounds.response_memory.shown $written | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a size as the worker's file has it, such as 4MiB; -1 if it is none. */}}
{{- define "zerotouch-worker.v1.bytes" -}}
{{- $factors := dict "B" 1 "kB" 1000 "KiB" 1024 "MB" 1000000 "MiB" 1048576 "GB" 1000000000 "GiB" 1073741824 -}}
{{- if regexMatch "^[0-9]+ *([kKMG]?B|[KMG]iB)$" . -}}
  {{- $unit := regexFind "[A-Za-z]+$" . -}}
  {{- hasKey $factors $unit | ternary (mul (regexFind "^[0-9]+" . | int64) (get $factors $unit | int64)) -1 -}}
{{- else -}}
-1
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity of Kubernetes, such as 256Mi; -1 if it is none. */}}
{{- define "zerotouch-worker.v1.quantity" -}}
{{- $factors := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- if regexMatch "^([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+|m|k|[MGTP]|[KMGTP]i)?$" . -}}
  {{- $unit := regexFind "[mkMGTP]?i?$|Ki$" . -}}
  {{- mulf (trimSuffix $unit . | float64) (get $factors $unit | float64) | int64 -}}
{{- else -}}
-1
{{- end -}}
{{- end -}}
