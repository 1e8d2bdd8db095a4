{{/*
The worker's container, as an item of a list: of `initContainers` where it is a native sidecar, of
`containers` otherwise.

  dict "root" $ "values" .Values.worker "replicas" 3

`replicas` (of the host) may be left out; given, it is checked against the partitions.
*/}}
{{- define "zerotouch-worker.v1.container" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "container") -}}
{{- include "zerotouch-worker.v1.check" (merge (dict "embedded" (not .standalone)) .) -}}
{{- $values := .values -}}
{{- $standalone := eq $values.mode "standalone" -}}
- name: zerotouch-worker
  image: {{ include "zerotouch-worker.v1.image" . | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  command: [/usr/local/bin/zerotouch-worker]
  args: [run, --config, /etc/zerotouch-worker/worker.toml]
  env:
    {{- include "zerotouch-worker.v1.podEnv" . | nindent 4 }}
    {{- with include "zerotouch-worker.v1.secretEnv" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "zerotouch-worker.v1.exposed" . }}
  ports:
    - name: zt-admin
      containerPort: {{ $values.admin.exposePort }}
      protocol: TCP
  {{- end }}
  startupProbe:
    {{- include "zerotouch-worker.v1.probe" (merge (dict "asks" "live") .) | nindent 4 }}
    {{- toYaml $values.startupProbe | nindent 4 }}
  livenessProbe:
    {{- include "zerotouch-worker.v1.probe" (merge (dict "asks" "live") .) | nindent 4 }}
    {{- toYaml $values.livenessProbe | nindent 4 }}
  {{- if or $standalone $values.sidecar.readiness }}
  readinessProbe:
    {{- include "zerotouch-worker.v1.probe" (merge (dict "asks" "ready") .) | nindent 4 }}
    {{- toYaml $values.readinessProbe | nindent 4 }}
  {{- end }}
  lifecycle:
    preStop:
      exec:
        command:
          - /usr/local/bin/zerotouch-worker
          - drain
          - --admin
          - http://127.0.0.1:{{ $values.admin.port }}
          - --timeout
          - {{ $values.drain.timeoutSeconds }}s
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    {{- toYaml $values.securityContext | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    {{- include "zerotouch-worker.v1.volumeMounts" . | nindent 4 }}
  {{- if and (not $standalone) $values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
{{- end -}}

{{/* Over HTTP where the listener can be reached from outside the pod, else by the program. */}}
{{- define "zerotouch-worker.v1.probe" -}}
{{- if include "zerotouch-worker.v1.exposed" . -}}
httpGet:
  path: {{ ternary "/livez" "/readyz" (eq .asks "live") }}
  port: zt-admin
{{- else -}}
exec:
  command:
    - /usr/local/bin/zerotouch-worker
    - probe
    - {{ .asks }}
    - --admin
    - http://127.0.0.1:{{ .values.admin.port }}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.secretEnv" -}}
{{- with .values.secrets.saslUsername -}}
{{- if .name }}
- name: ZEROTOUCH__KAFKA__PROPERTIES__SASL_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}
{{- end -}}
{{- with .values.secrets.saslPassword -}}
{{- if .name }}
- name: ZEROTOUCH__KAFKA__PROPERTIES__SASL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Who this is, for traces and for static membership. Order matters: $(…) looks backwards. */}}
{{- define "zerotouch-worker.v1.podEnv" -}}
- name: ZEROTOUCH_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: ZEROTOUCH_POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: ZEROTOUCH_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: ZEROTOUCH_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: OTEL_RESOURCE_ATTRIBUTES
  value: >-
    k8s.pod.name=$(ZEROTOUCH_POD_NAME),k8s.pod.uid=$(ZEROTOUCH_POD_UID),k8s.namespace.name=$(ZEROTOUCH_POD_NAMESPACE),k8s.node.name=$(ZEROTOUCH_NODE_NAME),k8s.container.name=zerotouch-worker
{{- with .values.otlp.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $.values.otlp.protocol }}
{{- if $.values.otlp.logs }}
- name: OTEL_LOGS_EXPORTER
  value: otlp
{{- end }}
{{- end }}
{{- if .values.staticMembership }}
- name: ZEROTOUCH__KAFKA__GROUP_INSTANCE_ID
  value: $(ZEROTOUCH_POD_NAME)
{{- end }}
{{- end -}}

{{- define "zerotouch-worker.v1.volumeMounts" -}}
- name: zt-config
  mountPath: /etc/zerotouch-worker
  readOnly: true
{{- if not .kafkaOnly }}
{{- range $index, $account := keys .values.secrets.serviceAccountKeys | sortAlpha }}
- name: zt-key-{{ $index }}
  mountPath: /var/run/secrets/zerotouch/account-{{ $index }}
  readOnly: true
{{- end }}
{{- end }}
{{- if .values.secrets.kafkaCa.name }}
- name: zt-kafka-ca
  mountPath: /var/run/secrets/zerotouch/kafka-ca
  readOnly: true
{{- end }}
{{- if .values.secrets.kafkaClientCertificate.name }}
- name: zt-kafka-client
  mountPath: /var/run/secrets/zerotouch/kafka-client
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
