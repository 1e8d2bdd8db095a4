{{/*
Whether an include of a template has what every one of them takes. All that a host chart includes
ask this first, since a wrong name of its own would otherwise end in a stack trace within this chart.
Takes dict "given" what the template was given, and "template" its name or "".
*/}}
{{- define "zerotouch-worker.v1.given" -}}
{{- $how := "pass `dict \"root\" $ \"values\" .Values.ALIAS`, with the `alias` of the dependency, or its name if it has none" -}}
{{- $where := empty .template | ternary "" (printf " to `zerotouch-worker.v1.%s`" .template) -}}
{{- $given := kindIs "map" .given | ternary .given (dict) -}}
{{- $values := $given.values -}}
{{- $root := kindIs "map" $given.root | ternary $given.root (dict) -}}
{{- if not (kindIs "map" $values) -}}
  {{- printf "\n\nzerotouch-worker: no values are given%s: %s\n" $where $how | fail -}}
{{- end -}}
{{- /* Defaults are always among them, so that these are missing only in what is another chart's. */ -}}
{{- $ours := list -}}
{{- range $key := list "image" "config" "secrets" "admin" "drain" "sidecar" -}}
  {{- if hasKey $values $key -}}{{- $ours = append $ours $key -}}{{- end -}}
{{- end -}}
{{- if lt (len $ours) 3 -}}
  {{- $found := keys $values | sortAlpha | join ", " | default "nothing" -}}
  {{- printf "\n\nzerotouch-worker: the values given%s are not those of this chart, but hold %s: %s\n" $where $found $how | fail -}}
{{- end -}}
{{- if not (hasKey $root "Release") -}}
  {{- printf "\n\nzerotouch-worker: no root is given%s: %s\n" $where $how | fail -}}
{{- end -}}
{{- end -}}

{{/*
Helm takes a key with nothing behind it out of the values, default included. Told alone: what would
have stood there is what the other checks are about. Where there is no default, as for most of
`config`, the key stays, and the schema lets it through.
*/}}
{{- define "zerotouch-worker.v1.check.blank" -}}
{{- $needed := dict "string" (list "mode") "slice" (list "extraEnvFrom") "map" (list
      "image" "secrets" "secrets.serviceAccountKeys" "secrets.saslUsername" "secrets.saslPassword"
      "secrets.kafkaCa" "secrets.kafkaClientCertificate" "admin" "drain" "sidecar" "autoscaling"
      "startupProbe" "livenessProbe" "readinessProbe" "serviceAccount"
      "serviceAccount.annotations" "podDisruptionBudget" "networkPolicy" "podMonitor"
      "prometheusRule" "dashboard" "otlp" "topicsJob" "commonLabels" "podLabels") -}}
{{- range $kind, $paths := $needed -}}
  {{- range $path := $paths -}}
    {{- $parent := $.values -}}
    {{- $value := $.values -}}
    {{- range $key := splitList "." $path -}}
      {{- $parent = $value -}}
      {{- $value = get (kindIs "map" $parent | ternary $parent (dict)) $key -}}
    {{- end -}}
    {{- $hint := "leave the whole key out for its default, or write what belongs there" -}}
    {{- if hasPrefix "secrets.sasl" $path -}}
      {{- $hint = printf "name the secret by `%s.name`, or leave the whole key out" $path -}}
    {{- else if eq $path "secrets.serviceAccountKeys" -}}
      {{- $hint = "name a secret for each account, such as `main: {name: zerotouch-key}`, or leave the whole key out" -}}
    {{- end -}}
    {{- if and (kindIs "map" $parent) (or (not (kindIs $kind $value)) (and (eq $kind "string") (empty $value))) }}
- {{ printf "`%s` is blank: %s" $path $hint | quote }}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- include "zerotouch-worker.v1.check.blank.config" (dict "path" "config" "value" .values.config) -}}
{{- end -}}

{{/* A key of `config`, or one within it, that has nothing behind it. */}}
{{- define "zerotouch-worker.v1.check.blank.config" -}}
{{- $path := .path -}}
{{- $inner := dict -}}
{{- if kindIs "map" .value -}}
  {{- range $key, $value := .value -}}
    {{- $_ := set $inner (printf "%s.%s" $path $key) $value -}}
  {{- end -}}
{{- else if kindIs "slice" .value -}}
  {{- range $index, $value := .value -}}
    {{- $_ := set $inner (printf "%s[%d]" $path $index) $value -}}
  {{- end -}}
{{- end -}}
{{- range $key, $value := $inner -}}
  {{- if kindIs "invalid" $value }}
- {{ printf "`%s` is blank: write what belongs there, or leave the whole key out" $key | quote }}
  {{- end -}}
  {{- include "zerotouch-worker.v1.check.blank.config" (dict "path" $key "value" $value) -}}
{{- end -}}
{{- end -}}
