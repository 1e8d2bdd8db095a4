{{/*
What the schema cannot say: values that contradict each other or would not work. All mistakes are
told at once. Takes dict "root" $ "values" …, "embedded" true where a host chart asks, and
"replicas" of the host if it gave them.
*/}}
{{- define "zerotouch-worker.v1.check" -}}
{{- $mistakes := concat
      (include "zerotouch-worker.v1.check.mode" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.required" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.labels" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.secrets" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.replicas" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.grace" . | fromYamlArray)
      (include "zerotouch-worker.v1.check.monitoring" . | fromYamlArray) -}}
{{- if $mistakes -}}
{{- printf "\n\nzerotouch-worker: %d mistake(s) in the values:\n- %s\n" (len $mistakes)
      (join "\n- " $mistakes) | fail -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.mode" -}}
{{- $values := .values -}}
{{- if eq $values.mode "sidecar" -}}
  {{- if $values.autoscaling.enabled }}
- "`autoscaling.enabled` with `mode: sidecar`: a sidecar has as many replicas as its host; scale the host and set `autoscaling.enabled: false`"
  {{- end -}}
  {{- if $values.networkPolicy.enabled }}
- "`networkPolicy.enabled` with `mode: sidecar`: it would cut the host's containers off as well; set it to false and include `zerotouch-worker.v1.egressRules` in the host's own policy"
  {{- end -}}
  {{- if or $values.serviceAccount.googleServiceAccount $values.serviceAccount.annotations $values.serviceAccount.name }}
- "`serviceAccount` with `mode: sidecar`: the pod has its host's service account; annotate that one and leave `serviceAccount` out"
  {{- end -}}
{{- else -}}
  {{- if .embedded }}
- "both modes at once: a host chart includes the sidecar, but `mode` is `standalone`, so that this release would run the worker twice; set `mode: sidecar`, or do not include `zerotouch-worker.v1.container`"
  {{- end -}}
  {{- if or $values.sidecar.readiness (not $values.sidecar.native) }}
- "`sidecar` with `mode: standalone`: these settings are for `mode: sidecar`; set that, or leave `sidecar` out"
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.required" -}}
{{- $config := .values.config -}}
{{- if not .values.image.repository }}
- "`image.repository` is missing: name the repository that you have pushed the image to, such as registry.example.com/zerotouch-worker"
{{- end -}}
{{- if not (default (dict) $config.kafka).bootstrap_servers }}
- "`config.kafka.bootstrap_servers` is missing: name brokers as host:port, several separated by commas"
{{- end -}}
{{- range $broker := splitList "," (default "" (default (dict) $config.kafka).bootstrap_servers) -}}
  {{- if and (trim $broker) (not (regexMatch "^\\S+:[0-9]+$" (trim $broker))) }}
- {{ printf "`config.kafka.bootstrap_servers` holds %q: write host:port" (trim $broker) | quote }}
  {{- end -}}
{{- end -}}
{{- $intake := default (dict) $config.intake -}}
{{- if not (or (default (dict) $config.topics).orders (eq (toString $intake.enabled) "false")) }}
- "`config.topics.orders` is missing: list the topics of order events, or set `config.intake.enabled: false` for a worker that only works off commands"
{{- end -}}
{{- if not $config.accounts }}
- "`config.accounts` is missing: list at least one reseller account with `name` and `partner_id`"
{{- end -}}
{{- if hasKey $config "admin" }}
- "`config.admin` is not to be set: use `admin`, since probes and ports have to fit it"
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.labels" -}}
{{- $ours := include "zerotouch-worker.v1.labels" (dict "root" .root "values" (set (deepCopy .values) "commonLabels" (dict))) | fromYaml -}}
{{- $ours = merge $ours (include "zerotouch-worker.v1.podSelector" . | fromYaml) -}}
{{- range $place := list "commonLabels" "podLabels" -}}
  {{- range $label := keys (get $.values $place) | sortAlpha -}}
    {{- if hasKey $ours $label }}
- {{ printf "`%s` holds %s, which the chart sets itself: leave it out" $place $label | quote }}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.secrets" -}}
{{- $values := .values -}}
{{- range $variable := $values.extraEnv -}}
  {{- if and $variable.value (regexMatch "PASSWORD|SECRET|TOKEN|KEY_PEM" (upper $variable.name)) }}
- {{ printf "`extraEnv` holds the value of %s in the open: name a secret instead, by `valueFrom.secretKeyRef`" $variable.name | quote }}
  {{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $account := $values.config.accounts -}}
  {{- $names = append $names $account.name -}}
  {{- $auth := default (dict) $account.auth -}}
  {{- $has := hasKey $values.secrets.serviceAccountKeys $account.name -}}
  {{- if and (eq (toString $auth.kind) "service_account_key") (not $auth.file) (not $has) }}
- {{ printf "account %q takes a service account key, but no secret is named: set `secrets.serviceAccountKeys.%s.name`, or `auth.file` to the path of a file that you mount by `extraVolumes`" $account.name $account.name | quote }}
  {{- end -}}
  {{- if and $has (ne (toString $auth.kind) "service_account_key") }}
- {{ printf "`secrets.serviceAccountKeys.%s` is given, but the account's `auth.kind` is not `service_account_key`: set it so, or leave the secret out" $account.name | quote }}
  {{- end -}}
{{- end -}}
{{- range $name, $secret := $values.secrets.serviceAccountKeys -}}
  {{- if not (has $name $names) }}
- {{ printf "`secrets.serviceAccountKeys.%s`: `config.accounts` has no account of this name, only %s" $name (join ", " $names) | quote }}
  {{- end -}}
  {{- if not (default (dict) $secret).name }}
- {{ printf "`secrets.serviceAccountKeys.%s.name` is missing: name the secret that holds the key file" $name | quote }}
  {{- end -}}
{{- end -}}
{{- $properties := default (dict) (default (dict) $values.config.kafka).properties -}}
{{- range $property := list "sasl.password" "ssl.key.password" "ssl.key.pem" "ssl.keystore.password" "sasl.oauthbearer.client.secret" -}}
  {{- if hasKey $properties $property }}
- {{ printf "`config.kafka.properties` holds %q, and would put it into a ConfigMap: name a secret instead, by `secrets.saslPassword.name` or a variable in `extraEnv` (ZEROTOUCH__KAFKA__PROPERTIES__%s)" $property ($property | upper | replace "." "_") | quote }}
  {{- end -}}
{{- end -}}
{{- $protocol := get $properties "security.protocol" | toString | upper -}}
{{- $mechanism := coalesce (get $properties "sasl.mechanism") (get $properties "sasl.mechanisms") "GSSAPI" | toString | upper -}}
{{- $needs := and (hasPrefix "SASL" $protocol) (or (eq $mechanism "PLAIN") (hasPrefix "SCRAM" $mechanism)) -}}
{{- if and $needs (not $values.secrets.saslPassword.name) (not $values.extraEnvFrom) (not (contains "SASL_PASSWORD" (toJson $values.extraEnv))) }}
- {{ printf "`config.kafka.properties` has %s with %s, but no password: set `secrets.saslPassword.name`" $protocol $mechanism | quote }}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.partitions" -}}
{{- int (default 12 (default (dict) .values.config.topics).partitions) -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.replicas" -}}
{{- $values := .values -}}
{{- $partitions := include "zerotouch-worker.v1.partitions" . | int -}}
{{- $advice := "more would stand idle; lower it, or have more partitions (`config.topics.partitions`, which only counts when the topics are made)" -}}
{{- if and (eq $values.mode "standalone") (not $values.autoscaling.enabled) (gt (int $values.replicas) $partitions) }}
- {{ printf "`replicas` is %d, but there are %d partitions: %s" (int $values.replicas) $partitions $advice | quote }}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.maxReplicas) $partitions) }}
- {{ printf "`autoscaling.maxReplicas` is %d, but there are %d partitions: %s" (int $values.autoscaling.maxReplicas) $partitions $advice | quote }}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
- "`autoscaling.minReplicas` is above `autoscaling.maxReplicas`: lower it"
{{- end -}}
{{- if and .embedded .replicas (gt (int .replicas) $partitions) }}
- {{ printf "the host has %d replicas, but there are %d partitions: %s" (int .replicas) $partitions $advice | quote }}
{{- end -}}
{{- if (default (dict) $values.config.kafka).group_instance_id }}
- "`config.kafka.group_instance_id` would be the same in every pod: leave it out, and set `staticMembership: true` to have the pod's name"
{{- end -}}
{{- end -}}

{{/* Seconds of a duration such as 25s, 1m 30s or 1500ms, rounded up; 0 if it is none. */}}
{{- define "zerotouch-worker.v1.seconds" -}}
{{- $total := 0 -}}
{{- $factors := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- if regexMatch "^([0-9]+(ms|s|m|h) ?)+$" . -}}
  {{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
    {{- $unit := regexFind "[a-z]+" . -}}
    {{- $total = add $total (mul (trimSuffix $unit . | atoi) (get $factors $unit)) -}}
  {{- end -}}
{{- end -}}
{{- div (add $total 999) 1000 -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.grace" -}}
{{- $values := .values -}}
{{- $written := default "25s" (default (dict) $values.config.shutdown).grace -}}
{{- $grace := include "zerotouch-worker.v1.seconds" $written | int -}}
{{- $drain := int $values.drain.timeoutSeconds -}}
{{- $given := int $values.terminationGracePeriodSeconds -}}
{{- if eq $grace 0 }}
- {{ printf "`config.shutdown.grace` is %q: write it with units ms, s, m or h, such as 25s or 1m 30s" $written | quote }}
{{- else if gt (add $drain $grace) $given }}
- {{ printf "the pod may take %d seconds to end (`terminationGracePeriodSeconds`), but `drain.timeoutSeconds` and `config.shutdown.grace` are %d together: raise the first to at least that, or lower one of the others" $given (add $drain $grace) | quote }}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.monitoring" -}}
{{- if and .values.podMonitor.enabled (not (include "zerotouch-worker.v1.exposed" .)) }}
- "`podMonitor.enabled`, but Prometheus cannot reach the worker: set `admin.expose: true`, which opens a port for probes and metrics only"
{{- end -}}
{{- if eq (int .values.admin.port) (int .values.admin.exposePort) }}
- "`admin.port` and `admin.exposePort` are the same: two listeners need two ports"
{{- end -}}
{{- end -}}
