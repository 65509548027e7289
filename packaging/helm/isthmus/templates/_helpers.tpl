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
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
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

{{/* What the configuration says of the hubs and the metrics, with the program's defaults, as YAML; paths in their
shortest form. */}}
{{- define "isthmus.hubs" -}}
{{- $hub := default dict .Values.config.hub -}}
{{- $kubernetes := default dict $hub.kubernetes -}}
{{- $etcd := default dict $hub.etcd -}}
{{- $metrics := default dict .Values.config.metrics -}}
{{- range $key, $path := dict "cluster" $kubernetes.cluster "fleet" $kubernetes.fleet "clusters" $etcd.clusters "kvstoremesh" $etcd.kvstoremesh "register" $etcd.register "file" (default dict $hub.file).path }}
{{ $key }}: {{ ternary "" (clean (default "" $path)) (empty $path) | quote }}
{{- end }}
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
  name: {{ $name | quote }}
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
{{- else if regexMatch "^[0:]+$" $address -}}::1
{{- else -}}{{ $address }}
{{- end -}}
{{- end -}}

{{/* Where the chart's volumes are mounted, by the volume's name, as YAML. `fleet`, in the hub's folder, is not among
them. */}}
{{- define "isthmus.mounts" -}}
{{- $hubs := include "isthmus.hubs" . | fromYaml -}}
{{- $lib := dig "state" "last_known_directory" "/var/lib/isthmus" .Values.config | clean -}}
{{- $mounts := dict "config" "/etc/isthmus" "run" "/run/isthmus" "bpf" "/sys/fs/bpf" "lib" $lib -}}
{{- $_ := set $mounts "state" (printf "%s/isthmus" (dig "state" "directory" "/dev/shm" .Values.config) | clean) -}}
{{- if not .Values.securityContext.privileged -}}
{{- $_ := set $mounts "sysctl" "/host/proc/sys/net" -}}
{{- end -}}
{{- if $hubs.clusters -}}
{{- $_ := set $mounts "clustermesh-secrets" $hubs.clusters -}}
{{- else if $hubs.kvstoremesh -}}
{{- $_ := set $mounts "clustermesh-secrets" (dir $hubs.kvstoremesh) -}}
{{- end -}}
{{- if and $hubs.fleet (ne $hubs.fleet "in-cluster") -}}
{{- $_ := set $mounts "fleet-hub" (dir $hubs.fleet) -}}
{{- end -}}
{{- if $hubs.file -}}
{{- $own := true -}}
{{- range concat (list $lib) (include "isthmus.extraMounts" . | fromYaml).paths -}}
{{- if hasPrefix (printf "%s/" .) (printf "%s/" $hubs.file) -}}
{{- $own = false -}}
{{- end -}}
{{- end -}}
{{- if $own -}}
{{- $_ := set $mounts "hub-folder" $hubs.file -}}
{{- end -}}
{{- end -}}
{{- toYaml $mounts -}}
{{- end -}}

{{/* The paths of extraVolumeMounts, in their shortest form. */}}
{{- define "isthmus.extraMounts" -}}
{{- $paths := list -}}
{{- range .Values.extraVolumeMounts -}}
{{- $paths = append $paths (clean .mountPath) -}}
{{- end -}}
{{- dict "paths" $paths | toYaml -}}
{{- end -}}

{{/* Fails where two volumes are mounted at one place or one within the other, which no container starts with, and where
nothing is mounted at a path of the configuration. */}}
{{- define "isthmus.checkMounts" -}}
{{- $hubs := include "isthmus.hubs" . | fromYaml -}}
{{- $mounts := include "isthmus.mounts" . | fromYaml -}}
{{- $extra := (include "isthmus.extraMounts" . | fromYaml).paths -}}
{{- $named := dict "config" "the configuration" "run" "the admin sockets" "bpf" "the BPF file system" "sysctl" "the node's network settings" "state" "config.state.directory" "lib" "config.state.last_known_directory" "hub-folder" "config.hub.file.path" "clustermesh-secrets" "config.hub.etcd" "fleet-hub" "config.hub.kubernetes.fleet" -}}
{{- $all := list -}}
{{- range $name, $path := $mounts -}}
{{- $all = append $all (dict "of" (get $named $name) "at" $path "extra" false) -}}
{{- end -}}
{{- range $extra -}}
{{- $all = append $all (dict "of" "extraVolumeMounts" "at" . "extra" true) -}}
{{- end -}}
{{- range $index, $one := $all -}}
{{- if or (has $one.at (list "/" "/bin" "/lib" "/lib64" "/proc" "/sbin" "/usr")) (not (isAbs $one.at)) (contains ":" $one.at) -}}
{{- fail (printf "%s: its volume cannot be mounted at %s: write a path in a folder of its own" $one.of $one.at) -}}
{{- end -}}
{{- range $other := slice $all (add1 $index | int) -}}
{{- $within := or (hasPrefix (printf "%s/" $one.at) $other.at) (hasPrefix (printf "%s/" $other.at) $one.at) -}}
{{- if or (eq $one.at $other.at) (and $within (not (and $one.extra $other.extra))) -}}
{{- fail (printf "%s has a volume at %s, and %s at %s: mounts can be neither equal nor one within the other: write a path in a folder of its own, for example /etc/isthmus-fleet-hub/kubeconfig or /var/lib/cilium/clustermesh" $one.of $one.at $other.of $other.at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $read := concat $extra (list $mounts.run $mounts.lib) (without (list (get $mounts "hub-folder") (get $mounts "clustermesh-secrets")) "") -}}
{{- $written := list $mounts.run $mounts.lib -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not .readOnly -}}
{{- $written = append $written (clean .mountPath) -}}
{{- end -}}
{{- end -}}
{{- $paths := list (dict "key" "admin.socket" "path" (dig "admin" "socket" "" .Values.config) "in" $written) (dict "key" "dns.file" "path" (dig "dns" "file" "" .Values.config) "in" $written) -}}
{{- range $name, $one := default dict .Values.config.gateways -}}
{{- $paths = append $paths (dict "key" (printf "gateways.%s.dns.file" $name) "path" (dig "dns" "file" "" (default dict $one)) "in" $written) -}}
{{- end -}}
{{- range $key, $path := dict "hub.kubernetes.cluster" $hubs.cluster "hub.etcd.kvstoremesh" $hubs.kvstoremesh "hub.etcd.register" $hubs.register -}}
{{- if ne $path "in-cluster" -}}
{{- $paths = append $paths (dict "key" $key "path" $path "in" $read) -}}
{{- end -}}
{{- end -}}
{{- range $paths -}}
{{- if .path -}}
{{- $path := clean .path -}}
{{- $found := false -}}
{{- range .in -}}
{{- if hasPrefix (printf "%s/" .) (printf "%s/" $path) -}}
{{- $found = true -}}
{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "config.%s: no volume that serves for it is mounted at %s or above it: write a path below one of %s, or add extraVolumes and extraVolumeMounts" .key $path (join ", " .in)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A Kubernetes quantity as a number, so that two can be compared. */}}
{{- define "isthmus.quantity" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+([eE][-+]?[0-9]+)?" $text -}}
{{- $unit := get (dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0) (trimPrefix $number $text) -}}
{{- printf "%.6f" (mulf (float64 $number) (default 1.0 $unit)) -}}
{{- end -}}

{{- define "isthmus.checkResources" -}}
{{- $resources := default dict .Values.resources -}}
{{- $requests := default dict $resources.requests -}}
{{- range $name, $limit := $resources.limits -}}
{{- if and (hasKey $requests $name) (lt (include "isthmus.quantity" $limit | float64) (include "isthmus.quantity" (get $requests $name) | float64)) -}}
{{- fail (printf "resources: the limit of %s, %v, is below what is requested, %v" $name $limit (get $requests $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of the pods. */}}
{{- define "isthmus.podLabels" -}}
{{- merge (dict) (default dict .Values.podLabels) (include "isthmus.labels" . | fromYaml) | toYaml -}}
{{- end -}}
