{{/* Labels of every resource. */}}
{{- define "moderation.labels" -}}
app.kubernetes.io/part-of: moderation
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "moderation.image" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{/* Of every pod: what the Pod Security Standard `restricted` asks. */}}
{{- define "moderation.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false # a Service `console` would set variables of its name, which the service takes for settings
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "moderation.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod may run; takes the values of its component. */}}
{{- define "moderation.scheduling" -}}
{{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" }}
{{- with index $ $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "moderation.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  labels: {{- include "moderation.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{/* Of a pod's network: which NetworkPolicies open it. */}}
{{- define "moderation.clients" -}}
moderation/kafka: client
moderation/https: client
{{- if eq .Values.engine.kind "vllm" }}
moderation/vllm: client
{{- end }}
{{- end }}

{{/* Whether Kafka asks for a user and a password: "true", or nothing. */}}
{{- define "moderation.kafkaLogin" -}}
{{- if and (hasPrefix "SASL" .Values.kafka.securityProtocol) (ne .Values.kafka.saslMechanism "OAUTHBEARER") }}true{{ end }}
{{- end }}

{{/* The volume of a Kafka client: its login, and the brokers' CA. Takes root and login. */}}
{{- define "moderation.kafkaVolume" -}}
{{- $ca := .root.Values.kafka.ca }}
{{- $login := include "moderation.kafkaLogin" .root }}
{{- if or $login $ca.secret }}
- name: kafka
  projected:
    defaultMode: 0440
    sources:
      {{- if $login }}
      - secret:
          name: {{ .login.secret }}
          items:
            {{- if not .login.username }}
            - {key: {{ .login.usernameKey }}, path: username}
            {{- end }}
            - {key: {{ .login.passwordKey }}, path: password}
      {{- end }}
      {{- if $ca.secret }}
      - secret:
          name: {{ $ca.secret }}
          items:
            - {key: {{ $ca.key }}, path: ca.crt}
      {{- end }}
{{- end }}
{{- end }}

{{- define "moderation.kafkaMount" -}}
{{- if or (include "moderation.kafkaLogin" .) .Values.kafka.ca.secret }}
- {name: kafka, mountPath: /etc/moderation/kafka, readOnly: true}
{{- end }}
{{- end }}

{{/* The user's name of a Kafka client, from the values or from its Secret. Takes root and login. */}}
{{- define "moderation.kafkaUser" -}}
{{- if include "moderation.kafkaLogin" .root }}
{{- if .login.username }}
- {name: MODERATION_KAFKA__SASL_USERNAME, value: {{ .login.username | quote }}}
{{- else }}
- {name: MODERATION_KAFKA__SASL_USERNAME_FILE, value: /etc/moderation/kafka/username}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings that worker, console and jobs share, as variables; those in `settings` win. */}}
{{- define "moderation.settings" -}}
{{- $kafka := .Values.kafka }}
{{- $made := dict
  "MODERATION_POLICIES__PATH" "/etc/moderation/policies"
  "MODERATION_LOGGING__FORMAT" "json"
  "MODERATION_KAFKA__BOOTSTRAP_SERVERS" $kafka.bootstrapServers
  "MODERATION_KAFKA__SECURITY_PROTOCOL" $kafka.securityProtocol }}
{{- if hasPrefix "SASL" $kafka.securityProtocol }}
{{- $_ := set $made "MODERATION_KAFKA__SASL_MECHANISM" $kafka.saslMechanism }}
{{- end }}
{{- if include "moderation.kafkaLogin" . }}
{{- $_ := set $made "MODERATION_KAFKA__SASL_PASSWORD_FILE" "/etc/moderation/kafka/password" }}
{{- end }}
{{- with $kafka.oauthTokenProvider }}
{{- $_ := set $made "MODERATION_KAFKA__OAUTH_TOKEN_PROVIDER" . }}
{{- end }}
{{- with $kafka.awsRegion }}
{{- $_ := set $made "AWS_REGION" . }}
{{- end }}
{{- if $kafka.ca.secret }}
{{- $_ := set $made "MODERATION_KAFKA__SSL_CAFILE" "/etc/moderation/kafka/ca.crt" }}
{{- end }}
{{- if eq .Values.engine.kind "local" }}
{{- $_ := set $made "MODERATION_ENGINE__MODEL" (include "moderation.modelPath" .) }}
{{- $_ := set $made "MODERATION_ENGINE__DEVICE" "cuda" }}
{{- $_ := set $made "MODERATION_ENGINE__DTYPE" .Values.model.dtype }}
{{- $_ := set $made "MODERATION_ENGINE__DIGESTS" (printf "%s/.digests" (include "moderation.modelPath" .)) }}
{{- else if eq .Values.engine.kind "vllm" }}
{{- $_ := set $made "MODERATION_ENGINE__KIND" "openai" }}
{{- $_ := set $made "MODERATION_ENGINE__BASE_URL" "http://vllm:8000/v1" }}
{{- $_ := set $made "MODERATION_ENGINE__API_KEY_FILE" "/etc/moderation/vllm/key" }}
{{- $_ := set $made "MODERATION_ENGINE__MODEL" .Values.model.name }}
{{- $_ := set $made "MODERATION_ENGINE__DTYPE" .Values.model.dtype }}
{{- end }}
{{- if .Values.legalHold.enabled }}
{{- $_ := set $made "MODERATION_CHILD_SAFETY__HOLD_PATH" "/var/lib/moderation/hold" }}
{{- $_ := set $made "MODERATION_CHILD_SAFETY__HOLD_KEY_FILE" "/etc/moderation/hold/key" }}
{{- end }}
{{- with .Values.tracing.endpoint }}
{{- $_ := set $made "OTEL_EXPORTER_OTLP_ENDPOINT" . }}
{{- end }}
{{- toYaml (mergeOverwrite $made .Values.settings) }}
{{- end }}

{{/* All topics that posts come from, as JSON. */}}
{{- define "moderation.inputTopics" -}}
{{- $more := include "moderation.kafkaSetting" (dict "root" . "name" "PRIORITY_TOPICS" "default" "[]") | fromJsonArray }}
{{- $main := include "moderation.kafkaSetting" (dict "root" . "name" "INPUT_TOPIC" "default" "moderation.posts") }}
{{- prepend $more $main | toJson }}
{{- end }}

{{/* A setting of section `kafka` that `settings` may change. Takes root, name, default. */}}
{{- define "moderation.kafkaSetting" -}}
{{- get .root.Values.settings (printf "MODERATION_KAFKA__%s" .name) | default .default }}
{{- end }}

{{/* Another model makes new pods. */}}
{{- define "moderation.modelChecksum" -}}
{{- list .Values.model.revision .Values.model.sha256sums | toYaml | sha256sum }}
{{- end }}

{{- define "moderation.modelPath" -}}
/models/{{ .Values.model.name }}
{{- end }}

{{/* What worker and console mount besides Kafka's files. */}}
{{- define "moderation.mounts" -}}
- {name: policies, mountPath: /etc/moderation/policies, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- include "moderation.kafkaMount" . }}
{{- if eq .Values.engine.kind "vllm" }}
- {name: vllm, mountPath: /etc/moderation/vllm, readOnly: true}
{{- end }}
{{- if .Values.legalHold.enabled }}
- {name: legal-hold, mountPath: /var/lib/moderation/hold}
- {name: legal-hold-key, mountPath: /etc/moderation/hold, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "moderation.volumes" -}}
- name: policies
  configMap: {name: {{ .Values.policies.existingConfigMap | default "policies" }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- if eq .Values.engine.kind "vllm" }}
- name: vllm
  secret: {secretName: {{ .Values.vllm.keySecret }}, defaultMode: 0440}
{{- end }}
{{- if .Values.legalHold.enabled }}
- name: legal-hold
  persistentVolumeClaim: {claimName: {{ .Values.legalHold.volume.existingClaim | default "legal-hold" }}}
- name: legal-hold-key
  secret: {secretName: {{ .Values.legalHold.keySecret }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The revision of the model: a folder of the volume, and a word of every verdict. Takes the variable's name. */}}
{{- define "moderation.revision" -}}
- name: {{ . }}
  valueFrom: {configMapKeyRef: {name: model, key: REVISION}}
{{- end }}

{{- define "moderation.modelMount" -}}
- {name: model, mountPath: {{ include "moderation.modelPath" . }}, subPathExpr: $(REVISION), readOnly: true}
{{- end }}

{{- define "moderation.modelVolumes" -}}
- name: model
  persistentVolumeClaim: {claimName: {{ .Values.model.volume.existingClaim | default "model" }}, readOnly: true}
- name: digests
  configMap: {name: model}
{{- end }}

{{/* The init container that refuses a model with other files than its digests name. */}}
{{- define "moderation.checkModel" -}}
- name: check-model
  {{- include "moderation.image" . | nindent 2 }}
  command: [sh, /etc/moderation/model/check.sh, {{ include "moderation.modelPath" . }}, /etc/moderation/model/SHA256SUMS]
  env: {{- include "moderation.revision" "REVISION" | nindent 4 }}
  resources:
    requests: {cpu: 500m, memory: 256Mi, ephemeral-storage: 64Mi}
    limits: {cpu: "2", memory: 512Mi, ephemeral-storage: 64Mi}
  {{- include "moderation.containerSecurity" . | nindent 2 }}
  volumeMounts:
    - {name: digests, mountPath: /etc/moderation/model, readOnly: true}
    {{- include "moderation.modelMount" . | nindent 4 }}
{{- end }}

{{/* A claim of a volume. Takes root, name, volume. */}}
{{- define "moderation.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}
  labels: {{- include "moderation.labels" .root | nindent 4 }}
  annotations: {helm.sh/resource-policy: keep} # what it holds outlives a release
spec:
  accessModes: [{{ .volume.accessMode }}]
  {{- with .volume.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ .volume.size }}}
{{- end }}
