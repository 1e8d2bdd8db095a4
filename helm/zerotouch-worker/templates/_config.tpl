{{/* The worker's configuration file, as TOML. Takes dict "root" $ "values" …. */}}
{{- define "zerotouch-worker.v1.config" -}}
{{- $config := include "zerotouch-worker.v1.settings" . | fromJson -}}
# Made by Helm from `config`, `admin` and `secrets` of the chart's values.
{{ include "zerotouch-worker.v1.toml" (dict "path" "" "table" $config) | trim }}
{{ end -}}

{{/* `config` with what follows from other values, as JSON. What the user wrote wins. */}}
{{- define "zerotouch-worker.v1.settings" -}}
{{- $values := .values -}}
{{- $config := deepCopy $values.config -}}
{{- range $index, $name := keys $values.secrets.serviceAccountKeys | sortAlpha -}}
  {{- range $account := $config.accounts -}}
    {{- $auth := default (dict) $account.auth -}}
    {{- if and (eq $account.name $name) (not $auth.file) -}}
      {{- $file := printf "/var/run/secrets/zerotouch/account-%d/key.json" $index -}}
      {{- $_ := set $account "auth" (merge (dict "file" $file) $auth) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $properties := default (dict) $config.kafka.properties -}}
{{- if $values.secrets.kafkaCa.name -}}
  {{- $ca := dict "ssl.ca.location" "/var/run/secrets/zerotouch/kafka-ca/ca.crt" -}}
  {{- $properties = merge $properties $ca -}}
{{- end -}}
{{- if $values.secrets.kafkaClientCertificate.name -}}
  {{- $folder := "/var/run/secrets/zerotouch/kafka-client" -}}
  {{- $_ := dict
        "ssl.certificate.location" (printf "%s/tls.crt" $folder)
        "ssl.key.location" (printf "%s/tls.key" $folder)
      | merge $properties -}}
{{- end -}}
{{- if $properties -}}
  {{- $_ := set $config.kafka "properties" $properties -}}
{{- end -}}
{{- $admin := dict "listen" (printf "127.0.0.1:%d" (int $values.admin.port)) -}}
{{- if include "zerotouch-worker.v1.exposed" . -}}
  {{- $address := printf "%s:%d" $values.admin.exposeAddress (int $values.admin.exposePort) -}}
  {{- $_ := set $admin "expose" $address -}}
{{- end -}}
{{- toJson (set $config "admin" $admin) -}}
{{- end -}}

{{/*
A table: its values, then the tables in it. Helm's own `toToml` writes every number of a values
file as a float, partner ids as 1.23456789e+08.
*/}}
{{- define "zerotouch-worker.v1.toml" -}}
{{- $path := .path -}}
{{- $table := .table -}}
{{- range $key := keys $table | sortAlpha -}}
  {{- $value := get $table $key -}}
  {{- $tables := and (kindIs "slice" $value) (not (empty $value)) -}}
  {{- $tables = and $tables (kindIs "map" (first (default (list "") $value))) -}}
  {{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) $tables) -}}
{{ include "zerotouch-worker.v1.toml.key" $key }} = {{ include "zerotouch-worker.v1.toml.value" $value }}
{{ end -}}
{{- end -}}
{{- range $key := keys $table | sortAlpha -}}
  {{- $value := get $table $key -}}
  {{- $name := include "zerotouch-worker.v1.toml.key" $key -}}
  {{- $name = ternary (printf "%s.%s" $path $name) $name (ne $path "") -}}
  {{- if kindIs "map" $value }}
[{{ $name }}]
{{ include "zerotouch-worker.v1.toml" (dict "path" $name "table" $value) -}}
  {{- else if kindIs "slice" $value -}}
    {{- range $element := $value -}}
      {{- if kindIs "map" $element }}
[[{{ $name }}]]
{{ include "zerotouch-worker.v1.toml" (dict "path" $name "table" $element) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end -}}

{{/* JSON's strings are TOML's too. A number with a fraction is for the worker to refuse. */}}
{{- define "zerotouch-worker.v1.toml.value" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $element := . }}{{ if $index }}, {{ end }}
{{- include "zerotouch-worker.v1.toml.value" $element }}{{ end }}]
{{- else if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toRawJson . -}}
{{- end -}}
{{- end -}}
