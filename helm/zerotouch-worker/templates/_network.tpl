{{/*
Items of a NetworkPolicy's `egress`: all that the worker has to reach. For a host's own policy as
well. Takes dict "root" $ "values" ….
*/}}
{{- define "zerotouch-worker.v1.egressRules" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "egressRules") -}}
{{- $values := .values -}}
{{- $policy := $values.networkPolicy -}}
- ports: # names
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
  {{- with $policy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- $ports := list -}}
{{- range $broker := splitList "," $values.config.kafka.bootstrap_servers -}}
  {{- $ports = append $ports (regexFind "[0-9]+$" (trim $broker) | atoi) -}}
{{- end }}
- ports: # brokers
    {{- range uniq (concat $ports (default (list) $policy.brokerPorts)) }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with $policy.brokersTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- $endpoint := default "https://androiddeviceprovisioning.googleapis.com" (default (dict) $values.config.api).endpoint -}}
{{- $port := regexFind ":[0-9]+" (trimPrefix "https:" $endpoint | trimPrefix "http:") | trimPrefix ":" -}}
{{- $scheme := ternary 80 443 (hasPrefix "http:" $endpoint) }}
- ports: # the API, and Google's token endpoint
    {{- range uniq (list 443 (ternary $scheme (default "443" $port | atoi) (eq $port ""))) }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- with $policy.apiTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if $policy.metadataServer }}
- ports: # GKE's metadata server, for workload identity
    - port: 80
      protocol: TCP
    - port: 988
      protocol: TCP
  to:
    - ipBlock:
        cidr: 169.254.169.254/32
    - ipBlock:
        cidr: 169.254.169.252/32
{{- end }}
{{- with $values.otlp.endpoint }}
- ports: # collector
    - port: {{ regexFind ":[0-9]+" (trimPrefix "https:" . | trimPrefix "http:") | trimPrefix ":" | default "4317" }}
      protocol: TCP
  {{- with $policy.collectorTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
