{{/*
Items of the pod's `volumes`. Takes dict "root" $ "values" …; "kafkaOnly" true leaves the accounts'
keys out.
*/}}
{{- define "zerotouch-worker.v1.volumes" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "volumes") -}}
{{- $values := .values -}}
{{- /* A sidecar's pod has its host's fsGroup or none, so the files are readable to all in there;
       but only this container mounts them. */ -}}
{{- $mode := ternary 288 292 (eq $values.mode "standalone") -}}
- name: zt-config
  configMap:
    name: {{ default (include "zerotouch-worker.v1.fullname" .) .configMap }}
{{- $keys := ternary (list) (keys $values.secrets.serviceAccountKeys | sortAlpha) (eq (toString .kafkaOnly) "true") }}
{{- range $index, $account := $keys }}
{{- $secret := get $values.secrets.serviceAccountKeys $account }}
- name: zt-key-{{ $index }}
  secret:
    secretName: {{ $secret.name }}
    defaultMode: {{ $mode }}
    items:
      - key: {{ default "key.json" $secret.key }}
        path: key.json
{{- end }}
{{- with $values.secrets.kafkaCa }}
{{- if .name }}
- name: zt-kafka-ca
  secret:
    secretName: {{ .name }}
    defaultMode: {{ $mode }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- with $values.secrets.kafkaClientCertificate }}
{{- if .name }}
- name: zt-kafka-client
  secret:
    secretName: {{ .name }}
    defaultMode: {{ $mode }}
    items:
      - key: {{ .certificate }}
        path: tls.crt
      - key: {{ .key }}
        path: tls.key
{{- end }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that the pod needs: monitoring and policies find it by them. */}}
{{- define "zerotouch-worker.v1.podLabels" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "podLabels") -}}
{{ include "zerotouch-worker.v1.podSelector" . }}
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations that the pod needs: a changed configuration makes new pods. */}}
{{- define "zerotouch-worker.v1.podAnnotations" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "podAnnotations") -}}
zerotouch-worker/config-checksum: {{ include "zerotouch-worker.v1.config" . | sha256sum }}
{{- with .values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* How long the pod may take to end: what the host's pod has to have as well. */}}
{{- define "zerotouch-worker.v1.terminationGracePeriodSeconds" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "terminationGracePeriodSeconds") -}}
{{- .values.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* The pod of the standalone worker. */}}
{{- define "zerotouch-worker.v1.pod" -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "zerotouch-worker.v1.selectorLabels" . | nindent 4 }}
    {{- $common := deepCopy $values.commonLabels }}
    {{- range keys $values.podLabels }}
    {{- $_ := unset $common . }}
    {{- end }}
    {{- with $common }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "zerotouch-worker.v1.podLabels" . | nindent 4 }}
  annotations:
    {{- include "zerotouch-worker.v1.podAnnotations" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "zerotouch-worker.v1.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "zerotouch-worker.v1.container" (merge (dict "standalone" true) .) | nindent 4 }}
  volumes:
    {{- include "zerotouch-worker.v1.volumes" . | nindent 4 }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "zerotouch-worker.v1.podSelector" . | nindent 10 }}
    {{- end }}
{{- end -}}

{{- define "zerotouch-worker.v1.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{- default (include "zerotouch-worker.v1.fullname" .) .values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
