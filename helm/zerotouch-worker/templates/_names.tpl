{{/*
Templates of this chart take `dict "root" $ "values" …`: the root of whichever chart renders, and
this chart's values. Names hold a version, since templates of all charts of a release share one
namespace; a change that hosts would notice makes a v2.
*/}}

{{/* Of the program; the same as in Chart.yaml. A host chart's root has only its own. */}}
{{- define "zerotouch-worker.v1.version" -}}0.1.0{{- end -}}

{{/* Not longer than 40, so that suffixes and what Kubernetes appends to pods' names still fit. */}}
{{- define "zerotouch-worker.v1.fullname" -}}
{{- $name := default "zerotouch-worker" .values.nameOverride -}}
{{- $release := .root.Release.Name -}}
{{- $joined := ternary $release (printf "%s-%s" $release $name) (contains $name $release) -}}
{{- default $joined .values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "zerotouch-worker.v1.image" -}}
{{- $image := .values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- $tag := default (include "zerotouch-worker.v1.version" .) $image.tag -}}
{{- printf "%s:%s" $image.repository $tag -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.selectorLabels" -}}
app.kubernetes.io/name: {{ default "zerotouch-worker" .values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* Of every object. */}}
{{- define "zerotouch-worker.v1.labels" -}}
{{ include "zerotouch-worker.v1.selectorLabels" . }}
app.kubernetes.io/version: {{ include "zerotouch-worker.v1.version" . | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: zerotouch-worker-{{ include "zerotouch-worker.v1.version" . }}
{{- with .values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What pods with this worker have in common in both modes, and nothing else has. */}}
{{- define "zerotouch-worker.v1.podSelector" -}}
zerotouch-worker/instance: {{ include "zerotouch-worker.v1.fullname" . }}
{{- end -}}

{{- define "zerotouch-worker.v1.metadata" -}}
name: {{ include "zerotouch-worker.v1.fullname" . }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "zerotouch-worker.v1.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "true" if kubelet and Prometheus can reach the worker from outside the pod, else "". */}}
{{- define "zerotouch-worker.v1.exposed" -}}
{{- if kindIs "bool" .values.admin.expose -}}
{{- ternary "true" "" .values.admin.expose -}}
{{- else -}}
{{- ternary "true" "" (eq .values.mode "standalone") -}}
{{- end -}}
{{- end -}}
