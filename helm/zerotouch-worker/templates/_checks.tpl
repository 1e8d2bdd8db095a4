{{/*
What the schema cannot say: values that contradict each other or would not work. All mistakes are
told at once. Takes dict "root" $ "values" …, "embedded" true where a host chart asks, and
"replicas" of the host if it gave them. All files of this chart ask first, whichever comes first.
*/}}
{{- define "zerotouch-worker.v1.check" -}}
{{- include "zerotouch-worker.v1.given" (dict "given" . "template" "") -}}
{{- $mistakes := include "zerotouch-worker.v1.check.blank" . | fromYamlArray -}}
{{- if not $mistakes -}}
{{- $scope := . -}}
{{- if not (kindIs "map" .values.config) -}}
  {{- /* Left blank, as all of it being missing. The values themselves stay as they are. */ -}}
  {{- $values := dict -}}
  {{- range $key, $value := .values -}}{{- $_ := set $values $key $value -}}{{- end -}}
  {{- $scope = merge (dict "values" (set $values "config" (dict))) . -}}
{{- end -}}
{{- $mistakes = concat
      (include "zerotouch-worker.v1.check.mode" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.required" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.labels" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.accounts" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.topics" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.secrets" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.brokers" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.replicas" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.grace" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.memory" $scope | fromYamlArray)
      (include "zerotouch-worker.v1.check.monitoring" $scope | fromYamlArray) -}}
{{- end -}}
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
{{- /* Of a dependency, the name is its alias. A host that asks is not one. */ -}}
{{- $bare := not (or .values.image.repository $config.kafka $config.topics $config.accounts) -}}
{{- if and $bare (not .embedded) (not .root.Chart.IsRoot) }}
- {{ printf "nothing of the above is given: in the values of the host chart, those of the worker stand under `%s:`, the `alias` of the dependency or else its name" .root.Chart.Name | quote }}
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
  {{- if and $has $auth.file }}
- {{ printf "account %q has both `auth.file` and `secrets.serviceAccountKeys.%s`, of which only the file would count: leave one of them out" $account.name $account.name | quote }}
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
{{- end -}}

{{- define "zerotouch-worker.v1.check.accounts" -}}
{{- $config := .values.config -}}
{{- $names := list -}}
{{- range $account := $config.accounts -}}
  {{- $names = append $names $account.name -}}
{{- end -}}
{{- $default := toString (default "" $config.default_account) -}}
{{- if and $names $default (not (has $default $names)) }}
- {{ printf "`config.default_account` is %q, but `config.accounts` has only %s: name one of those" $default (join ", " $names) | quote }}
{{- end -}}
{{- if and (gt (len $names) 1) (not $default) (not (include "zerotouch-worker.v1.fromElsewhere" (dict "values" .values "name" "ZEROTOUCH__DEFAULT_ACCOUNT"))) }}
- {{ printf "`config.default_account` is missing: with several accounts say which order events mean that name none, one of %s" (join ", " $names) | quote }}
{{- end -}}
{{- /* Default credentials come from the metadata server, too, where there is no file of them. */ -}}
{{- $google := .values.serviceAccount.googleServiceAccount -}}
{{- $kinds := list -}}
{{- range $account := $config.accounts -}}
  {{- $kinds = append $kinds (toString (default "application_default" (default (dict) $account.auth).kind)) -}}
{{- end -}}
{{- if and $google $kinds (not (or (has "metadata_server" $kinds) (has "application_default" $kinds))) }}
- "`serviceAccount.googleServiceAccount` is given, but no account uses it: set `auth.kind: metadata_server` for the account that it is of, or leave it out"
{{- end -}}
{{- $endpoint := toString (default "" (default (dict) $config.api).endpoint) -}}
{{- if hasPrefix "http://" $endpoint -}}
  {{- range $account := $config.accounts -}}
    {{- $kind := toString (default "application_default" (default (dict) $account.auth).kind) -}}
    {{- if ne $kind "none" }}
- {{ printf "account %q has `auth.kind: %s`, but `config.api.endpoint` is plain http, and a token must not go over it: set `auth.kind: none` for a sandbox, or an endpoint with https" $account.name $kind | quote }}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.topics" -}}
{{- $topics := default (dict) .values.config.topics -}}
{{- $prefix := default "zerotouch" .values.config.prefix -}}
{{- $seen := dict -}}
{{- range $key := list "commands" "ledger" "outcomes" "dead_letters" -}}
  {{- $name := default (printf "%s.%s" $prefix ($key | replace "_" "-")) (get $topics $key) -}}
  {{- if hasKey $seen $name }}
- {{ printf "`config.topics.%s` and `config.topics.%s` are both %q: each needs a topic of its own" (get $seen $name) $key $name | quote }}
  {{- else -}}
    {{- $_ := set $seen $name $key -}}
  {{- end -}}
{{- end -}}
{{- range $name := default (list) $topics.orders -}}
  {{- if and (hasKey $seen $name) (eq (get $seen $name) "orders") }}
- {{ printf "`config.topics.orders` holds %q twice: leave one out" $name | quote }}
  {{- else if hasKey $seen $name }}
- {{ printf "`config.topics.orders` holds %q, which is `config.topics.%s`, the worker's own: it would read what it writes; name another topic" $name (get $seen $name) | quote }}
  {{- else -}}
    {{- $_ := set $seen $name "orders" -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if a variable comes, or may come, from `extraEnv` or `extraEnvFrom`. */}}
{{- define "zerotouch-worker.v1.fromElsewhere" -}}
{{- $found := ternary "true" "" (gt (len .values.extraEnvFrom) 0) -}}
{{- range .values.extraEnv -}}
  {{- if eq .name $.name -}}{{- $found = "true" -}}{{- end -}}
{{- end -}}
{{- $found -}}
{{- end -}}

{{- define "zerotouch-worker.v1.check.brokers" -}}
{{- $values := .values -}}
{{- $properties := default (dict) (default (dict) $values.config.kafka).properties -}}
{{- $given := dict -}}
{{- range $property := list "security.protocol" "sasl.mechanism" "sasl.username" "sasl.password" -}}
  {{- $variable := printf "ZEROTOUCH__KAFKA__PROPERTIES__%s" ($property | upper | replace "." "_") -}}
  {{- $_ := set $given $property (include "zerotouch-worker.v1.fromElsewhere" (dict "values" $values "name" $variable)) -}}
{{- end -}}
{{- $protocols := list "PLAINTEXT" "SSL" "SASL_PLAINTEXT" "SASL_SSL" -}}
{{- $mechanisms := list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512" -}}
{{- $protocol := default "PLAINTEXT" (get $properties "security.protocol") | toString | upper -}}
{{- $mechanism := coalesce (get $properties "sasl.mechanism") (get $properties "sasl.mechanisms") | default "" | toString -}}
{{- $sasl := and (has $protocol $protocols) (hasPrefix "SASL_" $protocol) -}}
{{- $secrets := or $values.secrets.saslUsername.name $values.secrets.saslPassword.name -}}
{{- if not (has $protocol $protocols) }}
- {{ printf "`config.kafka.properties` has the security.protocol %q: write one of %s" $protocol (join ", " $protocols) | quote }}
{{- else if and $secrets (not $sasl) (not (get $given "security.protocol")) }}
- {{ printf "`secrets.saslUsername` or `secrets.saslPassword` is given, but with the security.protocol %s no password is sent: set `config.kafka.properties` to security.protocol SASL_SSL (or SASL_PLAINTEXT) and sasl.mechanism, or leave the secrets out" $protocol | quote }}
{{- end -}}
{{- if and $mechanism (not (has $mechanism $mechanisms)) }}
- {{ printf "`config.kafka.properties` has the sasl.mechanism %q: write one of %s (GSSAPI, Kerberos, and OAUTHBEARER are not built in)" $mechanism (join ", " $mechanisms) | quote }}
{{- else if and $sasl (not $mechanism) (not (get $given "sasl.mechanism")) }}
- {{ printf "`config.kafka.properties` has the security.protocol %s, but no sasl.mechanism: set it to one of %s" $protocol (join ", " $mechanisms) | quote }}
{{- end -}}
{{- if and $sasl (or (eq $mechanism "PLAIN") (hasPrefix "SCRAM" $mechanism)) -}}
  {{- if not (or (get $properties "sasl.username") $values.secrets.saslUsername.name (get $given "sasl.username")) }}
- {{ printf "`config.kafka.properties` has %s with %s, but no user name: set sasl.username there, or `secrets.saslUsername.name`" $protocol $mechanism | quote }}
  {{- end -}}
  {{- if not (or $values.secrets.saslPassword.name (get $given "sasl.password")) }}
- {{ printf "`config.kafka.properties` has %s with %s, but no password: set `secrets.saslPassword.name`" $protocol $mechanism | quote }}
  {{- end -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (ne $protocol "PLAINTEXT") (not $values.autoscaling.authenticationRef) }}
- {{ printf "`autoscaling.enabled`, and the brokers are spoken to with %s, but KEDA would ask them in plain text and without a password: name a TriggerAuthentication with its parameters sasl, tls, username and password (as far as the brokers want them) in `autoscaling.authenticationRef`" $protocol | quote }}
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
{{- $telemetry := default (dict) .values.config.telemetry -}}
{{- range $key := list "otlp_endpoint" "otlp_protocol" "logs" -}}
  {{- if and $.values.otlp.endpoint (hasKey $telemetry $key) }}
- {{ printf "`otlp.endpoint` and `config.telemetry.%s` are both given, and only one of them would count: leave the latter out, and use `otlp.%s`" $key ($key | trimPrefix "otlp_") | quote }}
  {{- end -}}
{{- end -}}
{{- if and .values.networkPolicy.enabled $telemetry.otlp_endpoint (not .values.otlp.endpoint) }}
- "`networkPolicy.enabled` opens the port of `otlp.endpoint` alone, but the collector is named by `config.telemetry.otlp_endpoint`: name it by `otlp.endpoint` instead"
{{- end -}}
{{- if eq (int .values.admin.port) (int .values.admin.exposePort) }}
- "`admin.port` and `admin.exposePort` are the same: two listeners need two ports"
{{- end -}}
{{- end -}}
