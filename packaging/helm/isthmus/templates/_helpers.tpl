{{/* Name of all objects, short enough for a Service with -metrics behind it, which takes no dots. */}}
{{- define "isthmus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "isthmus.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "isthmus.labels" -}}
{{ include "isthmus.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: isthmus
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "isthmus.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "isthmus.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "isthmus.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the configuration says of the hubs and the metrics, with the program's defaults, as YAML. */}}
{{- define "isthmus.hubs" -}}
{{- $hub := default dict .Values.config.hub -}}
{{- $kubernetes := default dict $hub.kubernetes -}}
{{- $etcd := default dict $hub.etcd -}}
{{- $metrics := default dict .Values.config.metrics -}}
cluster: {{ default "" $kubernetes.cluster | quote }}
fleet: {{ default "" $kubernetes.fleet | quote }}
clusters: {{ default "" $etcd.clusters | quote }}
kvstoremesh: {{ default "" $etcd.kvstoremesh | quote }}
file: {{ (default dict $hub.file).path | default "" | quote }}
inCluster: {{ or (eq (default "" $kubernetes.cluster) "in-cluster") (eq (default "" $kubernetes.fleet) "in-cluster") }}
metrics: {{ ne (toString (dig "enabled" true $metrics)) "false" }}
metricsAddress: {{ default "127.0.0.1" $metrics.address | quote }}
metricsPort: {{ default 9979 $metrics.port | int }}
{{- end -}}

{{/* Objects of the fleet as manifests, joined by document marks. */}}
{{- define "isthmus.fleet" -}}
{{- $kinds := list (dict "kind" "Cluster" "items" .Values.fleet.clusters) (dict "kind" "Gateway" "items" .Values.fleet.gateways) (dict "kind" "CrossClusterNetworkProfile" "items" .Values.fleet.profiles) -}}
{{- range $kinds }}
{{- $kind := .kind }}
{{- range $name, $spec := .items }}
---
apiVersion: isthmus.io/v1alpha1
kind: {{ $kind }}
metadata:
  name: {{ $name }}
  labels:
    {{- include "isthmus.labels" $ | nindent 4 }}
spec:
  {{- toYaml $spec | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where kubelet reaches the metrics port. */}}
{{- define "isthmus.probeHost" -}}
{{- $address := (include "isthmus.hubs" . | fromYaml).metricsAddress -}}
{{- if eq $address "0.0.0.0" -}}127.0.0.1
{{- else if eq $address "::" -}}::1
{{- else -}}{{ $address }}
{{- end -}}
{{- end -}}
