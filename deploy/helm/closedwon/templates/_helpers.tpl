{{- define "closedwon.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "closedwon.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "closedwon.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "closedwon.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- define "closedwon.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "closedwon.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "closedwon.settings" -}}
{{- .Values.settingsConfigMap | default (printf "%s-settings" (include "closedwon.name" .)) }}
{{- end }}

{{/* The purposes of the secrets that a role reads, as closedwon/cli/run.py has them. */}}
{{- define "closedwon.purposes" -}}
{{- get (dict "worker" "payloads org erp senders alerts" "subscriber" "payloads org" "intake" "payloads senders" "codec" "payloads codec") .role }}
{{- end }}

{{- define "closedwon.env" -}}
{{- $values := .root.Values }}
{{- $temporal := $values.temporal }}
- {name: CLOSEDWON_CONFIG, value: /etc/closedwon/closedwon.toml}
- {name: CREDENTIALS_DIRECTORY, value: /run/credentials/closedwon}
{{- if eq .role "codec" }}
- {name: CLOSEDWON_CODEC__HOST, value: 0.0.0.0}
- {name: CLOSEDWON_CODEC__PORT, value: {{ $values.codec.port | quote }}}
{{- else }}
- {name: CLOSEDWON_TELEMETRY__HOST, value: 0.0.0.0}
- {name: CLOSEDWON_TELEMETRY__PORT, value: "9464"}
- {name: CLOSEDWON_TELEMETRY__LOG_FORMAT, value: json}
- {name: CLOSEDWON_WORKERS__SHUTDOWN_GRACE, value: {{ printf "%ds" (int $values.shutdownGrace) }}}
{{- if not .controlled }}
- {name: TEMPORAL_ADDRESS, value: {{ required "temporal.address is needed" $temporal.address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ $temporal.namespace | quote }}}
{{- with $temporal.apiKey }}{{ if .secret }}
- {name: TEMPORAL_API_KEY, valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}}
{{- end }}{{ end }}
{{- if $temporal.clientCertificate.secret }}
- {name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /run/temporal/client/tls.crt}
- {name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /run/temporal/client/tls.key}
{{- end }}
{{- with $temporal.serverName }}
- {name: TEMPORAL_TLS_SERVER_NAME, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- with $temporal.authority }}{{ if .secret }}
- {name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /run/temporal/authority/{{ .key }}}
{{- end }}{{ end }}
{{- if and $values.intake.enabled (has .role (list "worker" "intake")) }}
{{- with $values.intake }}
- {name: CLOSEDWON_INTAKE__HOST, value: 0.0.0.0}
- {name: CLOSEDWON_INTAKE__PORT, value: {{ .port | quote }}}
{{- if .proxies }}
- {name: CLOSEDWON_INTAKE__PROXIES, value: {{ .proxies | toJson | quote }}}
{{- end }}
{{- with .certificateHeader }}
- {name: CLOSEDWON_INTAKE__FORWARDED_CERTIFICATE__HEADER, value: {{ . | quote }}}
{{- end }}
{{- if and .certificateHeader .certificateSubjects }}
- {name: CLOSEDWON_INTAKE__FORWARDED_CERTIFICATE__CLIENT_SUBJECTS, value: {{ .certificateSubjects | toJson | quote }}}
{{- end }}
{{- if .tls.secret }}
- {name: CLOSEDWON_INTAKE__TLS__CERTIFICATE, value: /run/intake/tls.crt}
# A worker only checks what is admitted: it has no private key, and does not read this file.
- {name: CLOSEDWON_INTAKE__TLS__KEY, value: /run/intake/{{ ternary "tls.key" "tls.crt" (eq $.role "intake") }}}
{{- if .tls.clientAuthority.secret }}
- {name: CLOSEDWON_INTAKE__TLS__CLIENT_CA, value: /run/intake/client-ca.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with (get $values .role).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "closedwon.volumes" -}}
{{- $values := .root.Values }}
{{- $purposes := splitList " " (include "closedwon.purposes" .) }}
- name: settings
  configMap: {name: {{ include "closedwon.settings" .root }}}
- name: temporary
  emptyDir: {sizeLimit: 64Mi}
- name: credentials
  projected:
    defaultMode: 0440
    sources:
    {{- range $values.credentials }}
    {{- if has .purpose $purposes }}
      - secret: {name: {{ .secret }}, items: [{key: {{ .key }}, path: {{ .name }}}]}
    {{- end }}
    {{- end }}
{{- if ne .role "codec" }}
{{- if and $values.temporal.clientCertificate.secret (not .controlled) }}
- name: temporal-client
  secret: {secretName: {{ $values.temporal.clientCertificate.secret }}, defaultMode: 0440}
{{- end }}
{{- if $values.temporal.authority.secret }}
- name: temporal-authority
  secret: {secretName: {{ $values.temporal.authority.secret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- if and $values.intake.enabled $values.intake.tls.secret (has .role (list "worker" "intake")) }}
{{- with $values.intake.tls }}
- name: intake-tls
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: {{ .secret }}, items: [{key: tls.crt, path: tls.crt}{{ if eq $.role "intake" }}, {key: tls.key, path: tls.key}{{ end }}]}
      {{- if .clientAuthority.secret }}
      - secret: {name: {{ .clientAuthority.secret }}, items: [{key: {{ .clientAuthority.key }}, path: client-ca.crt}]}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "closedwon.mounts" -}}
{{- $values := .root.Values }}
- {name: settings, mountPath: /etc/closedwon, readOnly: true}
- {name: credentials, mountPath: /run/credentials/closedwon, readOnly: true}
- {name: temporary, mountPath: /tmp}
{{- if ne .role "codec" }}
{{- if and $values.temporal.clientCertificate.secret (not .controlled) }}
- {name: temporal-client, mountPath: /run/temporal/client, readOnly: true}
{{- end }}
{{- if $values.temporal.authority.secret }}
- {name: temporal-authority, mountPath: /run/temporal/authority, readOnly: true}
{{- end }}
{{- end }}
{{- if and $values.intake.enabled $values.intake.tls.secret (has .role (list "worker" "intake")) }}
- {name: intake-tls, mountPath: /run/intake, readOnly: true}
{{- end }}
{{- end }}

{{- define "closedwon.command" -}}
{{- if .controlled -}}
[/usr/bin/env, CLOSEDWON_WORKERS__DEPLOYMENT=$(TEMPORAL_DEPLOYMENT_NAME), CLOSEDWON_WORKERS__BUILD_ID=$(TEMPORAL_WORKER_BUILD_ID), closedwon, worker]
{{- else if eq .role "codec" -}}
[closedwon, codec, serve]
{{- else -}}
[closedwon, {{ .role }}]
{{- end }}
{{- end }}

{{/* A pod: dict root, role, controlled (whether Temporal's Worker Controller makes it). */}}
{{- define "closedwon.pod" -}}
{{- $own := get .root.Values .role }}
metadata:
  labels:
    {{- include "closedwon.selector" . | nindent 4 }}
  annotations:
    {{- if .root.Values.settings }}
    # Processes read their settings when they start: changed ones start new pods.
    checksum/settings: {{ .root.Values.settings | sha256sum }}
    {{- end }}
    kubectl.kubernetes.io/default-container: {{ .role }}
spec:
  serviceAccountName: {{ include "closedwon.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (int .root.Values.shutdownGrace) 30 }}
  securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: {{ include "closedwon.selector" . | fromYaml | toJson }}}
  containers:
    - name: {{ .role }}
      image: {{ include "closedwon.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{ include "closedwon.command" . }}
      env: {{- include "closedwon.env" . | nindent 8 }}
      ports:
        {{- if ne .role "codec" }}
        - {name: metrics, containerPort: 9464}
        {{- end }}
        {{- if has .role (list "intake" "codec") }}
        - {name: {{ .role }}, containerPort: {{ $own.port }}}
        {{- end }}
      {{- if eq .role "codec" }}
      readinessProbe: {tcpSocket: {port: codec}, periodSeconds: 5}
      livenessProbe: {tcpSocket: {port: codec}, periodSeconds: 15, failureThreshold: 4}
      {{- else }}
      # A process that waits for Temporal is alive and not ready; it must not be restarted for that.
      startupProbe: {httpGet: {path: /livez, port: metrics}, periodSeconds: 2, failureThreshold: 60}
      readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 10, timeoutSeconds: 8}
      livenessProbe: {httpGet: {path: /livez, port: metrics}, periodSeconds: 15, timeoutSeconds: 5, failureThreshold: 4}
      {{- end }}
      resources: {{- toYaml $own.resources | nindent 8 }}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: {{- include "closedwon.mounts" . | nindent 8 }}
  volumes: {{- include "closedwon.volumes" . | nindent 4 }}
{{- end }}
