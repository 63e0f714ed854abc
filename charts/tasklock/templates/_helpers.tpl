{{/* The chart's name, or what stands in for it; 63 characters, as labels have. */}}
{{- define "tasklock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The name of most objects. Short enough for what is added to it ("-force-release" is the longest).
A release whose name holds the chart's name is not named twice.
*/}}
{{- define "tasklock.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $made := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $made .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{/* What never changes between releases: the Deployment's selector. */}}
{{- define "tasklock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tasklock.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object: (dict "root" $ "component" "client"). */}}
{{- define "tasklock.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "tasklock.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tasklock
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tasklock.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tasklock.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* repository:tag@digest; a digest alone leaves the tag out unless one was given. */}}
{{- define "tasklock.image" -}}
{{- with .Values.image }}
{{- $tag := default (ternary "" $.Chart.AppVersion (ne .digest "")) .tag }}
{{- .repository }}{{ with $tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{/* The rules that the operator needs, no more: it reads Leases and Pods, deletes Leases, writes Events. */}}
{{- define "tasklock.operatorRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch, delete]
{{- if .Values.operator.pods.watch }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- if .Values.operator.events }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
{{- end }}

{{/* Who takes locks, as a JSON list of RBAC subjects: those that are bound here, and those that are bound elsewhere. */}}
{{- define "tasklock.clients" -}}
{{- $clients := list }}
{{- range $binding := .Values.client.bindings }}
{{- range $binding.subjects }}
{{- $clients = append $clients (include "tasklock.subject" (dict "subject" . "namespace" $binding.namespace) | fromJson) }}
{{- end }}
{{- end }}
{{- range .Values.client.boundElsewhere }}
{{- $clients = append $clients (include "tasklock.subject" (dict "subject" . "namespace" "") | fromJson) }}
{{- end }}
{{- $clients | uniq | toJson }}
{{- end }}

{{/* One RBAC subject as JSON: (dict "subject" . "namespace" "the-default-one"). */}}
{{- define "tasklock.subject" -}}
{{- $subject := dict "kind" (default "ServiceAccount" .subject.kind) "name" .subject.name }}
{{- if eq $subject.kind "ServiceAccount" }}
{{- $_ := set $subject "namespace" (default .namespace .subject.namespace) }}
{{- else }}
{{- $_ := set $subject "apiGroup" "rbac.authorization.k8s.io" }}
{{- end }}
{{- $subject | toJson }}
{{- end }}
